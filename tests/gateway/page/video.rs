//! Video on the page, from ffmpeg on the LAN: by the browser's own decoders, and by mpegts.js.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::peers::browser::Browser;
use crate::peers::chromium::Chromium;
use crate::peers::tool;
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, lab_test, skip};

const GROUP: &str = "239.1.2.3:5000";
/// Pictures a second.
const RATE: f64 = 25.0;

lab_test! {
    fn video_plays_by_webcodecs(lab) {
        Player::WebCodecs.play(lab, 3);
    }
}

lab_test! {
    fn video_plays_by_mpegts_js(lab) {
        Player::Mpegts.play(lab, 3);
    }
}

lab_test! {
    #[ignore = "takes a minute"]
    fn half_a_minute_of_video_plays_by_webcodecs(lab) {
        Player::WebCodecs.play(lab, 30);
    }
}

lab_test! {
    #[ignore = "takes a minute"]
    fn half_a_minute_of_video_plays_by_mpegts_js(lab) {
        Player::Mpegts.play(lab, 30);
    }
}

lab_test! {
    #[ignore = "takes half a minute"]
    fn a_picture_comes_sooner_on_the_page(lab) {
        if skip("chromium", "chromium") || skip("ffmpeg", "ffmpeg") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let origin = format!("http://{}", gateway.address);
        let secure = format!("--unsafely-treat-insecure-origin-as-secure={origin}");
        // A key picture every five seconds, which is what a player waits for.
        let h264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "125", "-keyint_min", "125", "-sc_threshold", "0"];
        let _camera = Camera::start(lab, &h264);
        // Streams of several interfaces have no picture to begin with: the page then plays what it hears anyway.
        let means = ["all", "lan0"].map(|interface| {
            let url = format!("{origin}/#watch=/udp/{GROUP}?interface={interface}");
            let mut page = Chromium::open_with(lab, &url, &[&secure]);
            page.text("#video-figures");
            let times: Vec<f64> = (0..5).map(|_| first_picture(&mut page)).collect();
            let mean = times.iter().sum::<f64>() / 5.0;
            println!("first picture on the page, interface={interface}: {times:.0?} ms, mean {mean:.0} ms");
            mean
        });
        assert!(means[1] < means[0] / 3.0, "{means:?}");
    }
}

/// Milliseconds from a click on the picture's tab to its first picture.
fn first_picture(page: &mut Chromium) -> f64 {
    page.evaluate(
        "(() => { const canvas = document.querySelector('#canvas'); document.querySelector('#tab-text').click(); \
         canvas.width = 16; window.took = 0; const from = performance.now(); \
         const look = () => { if (canvas.width > 16) window.took = performance.now() - from; else requestAnimationFrame(look); }; \
         document.querySelector('#tab-video').click(); look(); })()",
    );
    page.wait("a picture", "window.took > 0");
    page.evaluate("window.took").as_f64().expect("a number")
}

lab_test! {
    fn the_page_says_why_there_is_no_picture(lab) {
        if skip("chromium", "chromium") || skip("ffmpeg", "ffmpeg") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        // Plain http from another machine, and no --player.
        let mut page = Chromium::open(lab, &format!("http://{}/#watch=/udp/{GROUP}", gateway.address));
        let _camera = Camera::start(lab, &["-c:v", "mpeg2video"]);
        let words = page.text("#screen-words");
        assert!(words.contains("localhost") && words.contains("--player"), "{words}");
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Player {
    WebCodecs,
    Mpegts,
}

impl Player {
    /// Watches the video for so many seconds by the stream's own clock: pictures decoded.
    fn play(self, lab: &Lab, seconds: u32) {
        if skip("chromium", "chromium") || skip("ffmpeg", "ffmpeg") {
            return;
        }
        let Some(file) = tool("node/node_modules/mpegts.js/dist/mpegts.js") else { return };
        let player = file.to_str().expect("a plain path");
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--player", player]);
        let origin = format!("http://{}", gateway.address);
        // Browsers lend their decoders to https and localhost; the lab has neither.
        let secure = format!("--unsafely-treat-insecure-origin-as-secure={origin}");
        let mut page = Chromium::open_with(lab, &format!("{origin}/#watch=/udp/{GROUP}"), &[&secure]);
        gateway.await_joined("gw-lan0", GROUP);
        let h264 = ["-c:v", "libx264", "-profile:v", "main", "-preset", "veryfast", "-bf", "2", "-g", "25"];
        let _camera = Camera::start(lab, &h264);
        if self == Player::Mpegts {
            page.wait("a choice of players", "document.querySelector('#players').checkVisibility()");
            page.evaluate("document.querySelector('[data-player=mpegts]').click()");
        }
        let expected = if self == Player::Mpegts { "mpegts" } else { "webcodecs" };
        page.text("#video-figures");
        assert_eq!(page.evaluate("document.querySelector('#screen').dataset.player"), expected);
        // The picture has a stream of its own, which begins with a picture.
        gateway.status_with("a second session", |status| {
            let sessions = status["sessions"].as_array().expect("a list");
            sessions.iter().any(|session| session["kind"] == "websocket")
        });

        // From one reading, which comes once a second, to another so many seconds of video later.
        let reading = "(({decoded, dropped, error}) => [Number(decoded), Number(dropped), error, performance.now()])(document.querySelector('#screen').dataset)";
        let first = page.evaluate(reading);
        let pictures = f64::from(seconds) * RATE;
        let goal = first[0].as_f64().expect("a number") + pictures;
        page.wait_within(
            &format!("{pictures} pictures"),
            &format!("Number(document.querySelector('#screen').dataset.decoded) >= {goal}"),
            Duration::from_secs(u64::from(2 * seconds) + 10),
        );
        let last = page.evaluate(reading);
        let grown =
            |place: usize| last[place].as_f64().expect("a number") - first[place].as_f64().expect("a number");
        let (decoded, dropped, time) = (grown(0), grown(1), grown(3) / 1000.0);
        println!("{expected}: {decoded} pictures in {time:.1} s, {dropped} dropped");
        assert_eq!(last[2], "", "{last:#}");
        assert!(dropped <= (decoded / 100.0).max(3.0), "{dropped} of {decoded} pictures are dropped");
        assert!(page.text("#video-figures").starts_with("640 × 360"), "the size of the picture");
        // A test picture has more than one colour.
        let screen = if self == Player::Mpegts { "#video" } else { "#canvas" };
        let colours = format!(
            "(() => {{ const c = new OffscreenCanvas(64, 36); const x = c.getContext('2d'); \
             x.drawImage(document.querySelector({screen:?}), 0, 0, 64, 36); const d = x.getImageData(0, 0, 64, 36).data; \
             const s = new Set(); for (let i = 0; i < d.length; i += 4) s.add((d[i] >> 5) + ',' + (d[i + 1] >> 5) + ',' + (d[i + 2] >> 5)); \
             return s.size; }})()"
        );
        let colours = page.evaluate(&colours).as_u64().expect("a number");
        assert!(colours > 15, "{colours} colours are no test picture");
        if self == Player::WebCodecs {
            assert_eq!(
                page.evaluate("document.querySelector('#screen').dataset.heard"),
                "0",
                "nobody asked for sound"
            );
            let click =
                json!({ "expression": "document.querySelector('#sound').click()", "userGesture": true });
            page.call("Runtime.evaluate", &click);
            // 47 pieces are a second of it.
            page.wait("a second of sound", "Number(document.querySelector('#screen').dataset.heard) > 47");
            assert_eq!(page.text("#sound"), "Sound off");
        }
        assert_eq!(gateway.stream(GROUP)["lost"]["kernel"], 0);
    }
}

/// ffmpeg on `srca`, sending until it is dropped.
struct Camera(Child);

impl Camera {
    fn start(lab: &Lab, codec: &[&str]) -> Self {
        let mut command = lab.command("srca", "ffmpeg");
        command
            .args(["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"])
            .args(["-re", "-f", "lavfi", "-i", "sine=sample_rate=48000", "-map", "0:v", "-map", "1:a"])
            .args(codec)
            .args(["-pix_fmt", "yuv420p", "-b:v", "1500k", "-c:a", "aac", "-b:a", "96k", "-f", "mpegts"])
            .arg(format!("udp://{GROUP}?pkt_size=1316&ttl=1&localaddr=10.1.0.2"))
            .stdin(Stdio::null());
        Camera(command.spawn().expect("start ffmpeg"))
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
