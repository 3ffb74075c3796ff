//! How long a player that joins late takes to its first picture, with `start=keyframe` and without.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::GROUP;
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, lab_test, skip};

const RUNS: usize = 5;

lab_test! {
    #[ignore = "takes most of a minute"]
    fn a_player_has_its_first_picture_sooner(lab) {
        if skip("ffmpeg", "ffmpeg") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut first = gateway.open(&format!("/udp/{GROUP}"));
        gateway.await_joined("gw-lan0", GROUP);
        let _camera = Camera::start(lab);
        let begun = Instant::now();
        // Two groups of pictures: the log has a whole one.
        while begun.elapsed() < Duration::from_secs(8) {
            first.recv();
        }
        let reading = std::thread::spawn(move || while first.recv_within(Duration::from_secs(5)).is_some() {});
        let mut times = [Vec::new(), Vec::new()];
        // By turns, so that both meet the same moments of the stream.
        for _ in 0..RUNS {
            for (query, times) in ["", "?start=keyframe"].iter().zip(&mut times) {
                times.push(first_picture(lab, &format!("http://{}/udp/{GROUP}{query}", gateway.address)));
            }
        }
        let mean = |times: &[Duration]| times.iter().sum::<Duration>() / RUNS as u32;
        let (without, with) = (mean(&times[0]), mean(&times[1]));
        println!("first picture without: {:?}, mean {without:?}", times[0]);
        println!("first picture with start=keyframe: {:?}, mean {with:?}", times[1]);
        drop(_camera);
        reading.join().expect("the first client");
    }
}

/// From the start of ffmpeg to the first picture that it has decoded.
fn first_picture(lab: &Lab, url: &str) -> Duration {
    let begun = Instant::now();
    let mut player = lab
        .command("cli", "ffmpeg")
        .args(["-nostdin", "-v", "error", "-probesize", "32768", "-analyzeduration", "0", "-i", url])
        .args(["-map", "0:v", "-frames:v", "1", "-f", "framecrc", "-flush_packets", "1", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start ffmpeg");
    let lines = BufReader::new(player.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    // What begins with a sign of number is not a picture yet.
    let picture = lines.into_iter().find(|line| !line.starts_with('#'));
    let took = begun.elapsed();
    let _ = player.kill();
    let ended = player.wait();
    assert!(picture.is_some(), "no picture: {ended:?}");
    took
}

/// H.264 with a key picture every five seconds, until it is dropped.
struct Camera(Child);

impl Camera {
    fn start(lab: &Lab) -> Self {
        let mut command = lab.command("srca", "ffmpeg");
        command
            .args(["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"])
            .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-b:v", "2M"])
            .args(["-g", "125", "-keyint_min", "125", "-sc_threshold", "0", "-f", "mpegts"])
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
