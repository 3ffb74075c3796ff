//! Somebody's shell on a host of the lab, where a document's commands are typed.

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::WSCAST;
use super::block::{blocks, root};
use super::support::lab::{Lab, PATIENCE, lacks, wait_for};

/// The host: its `eth0` is on lana, where `srca` sends.
const HOST: &str = "srcc";
/// A command that ends takes this long at most.
const LONGEST: Duration = Duration::from_secs(30);
/// One that does not end shows within this time after its first output whether it has failed.
const SETTLING: Duration = Duration::from_millis(300);

/// Programs that a document names and the desk stands in for, as they would need a screen, a build or a password.
const STAND_INS: [(&str, &str); 7] = [
    // A player: whether it would be given a stream.
    ("ffplay", "for url; do :; done; curl -sSN --max-time 10 \"$url\" | head -c 100 | grep -q ."),
    ("vlc", "for url; do :; done; curl -sSN --max-time 10 \"$url\" | head -c 100 | grep -q ."),
    ("mpv", "for url; do :; done; curl -sSN --max-time 10 \"$url\" | head -c 100 | grep -q ."),
    // `cargo run ... -- ARGUMENTS` is the program that is built already.
    ("cargo", "while [ \"$1\" != -- ]; do shift || exit 1; done; shift; exec wscast \"$@\""),
    ("sudo", "exec \"$@\""),
    // Some settings can't be changed in a namespace; that they exist is seen all the same.
    (
        "sysctl",
        "for each; do case $each in *=*) /usr/sbin/sysctl -n \"${each%%=*}\" >/dev/null || exit 1 ;; esac; done
/usr/sbin/sysctl \"$@\" >/dev/null 2>&1 || case \"$*\" in *net.core.*) ;; *) exit 1 ;; esac",
    ),
    ("xdg-open", "exit 0"),
];

/// A shell, what was started in it, and who sends to it.
pub(crate) struct Desk<'a> {
    lab: &'a Lab,
    folder: TempDir,
    server: Option<Running>,
    _senders: Vec<Running>,
    path: String,
    /// Commands that were run.
    ran: usize,
}

/// A program with everything that it started; killed when dropped.
struct Running(Child);

impl<'a> Desk<'a> {
    pub(crate) fn new(lab: &'a Lab) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let programs = folder.path().join(".programs");
        fs::create_dir(&programs).expect("a folder");
        symlink(WSCAST, programs.join("wscast")).expect("a link");
        for (name, script) in STAND_INS {
            let file = programs.join(name);
            fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a script");
            fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("it can be run");
        }
        for name in ["netns-scripts", "examples", "tests", "packaging"] {
            if root().join(name).exists() {
                symlink(root().join(name), folder.path().join(name)).expect("a link");
            }
        }
        // A refusal is a failure, where curl by itself would show it and say 0.
        fs::write(folder.path().join(".curlrc"), "fail-with-body\n").expect("a file");
        let hosts = folder.path().join(".hosts");
        fs::write(&hosts, "127.0.0.1 localhost gateway.lan tv.example.org\n").expect("a file");
        lab.sh(&format!("mount --bind {} /etc/hosts", hosts.display()));
        let _ = lab.try_sh(&format!("ip -n {HOST} route add 224.0.0.0/4 dev eth0"));
        let tools = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-tools").join("bin");
        let path = format!(
            "{}:{}:{}:/usr/sbin:/sbin",
            programs.display(),
            tools.display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let groups = ["239.1.2.3:5000", "232.1.2.3:5000", "232.1.2.4:5000"];
        let senders = groups.map(|group| {
            let mut command = lab.command("srca", WSCAST);
            command.args(["send", group, "--interface", "eth0", "--rate", "50", "--count", "1000000"]);
            Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
        });
        Desk { lab, folder, server: None, _senders: senders.into(), path, ran: 0 }
    }

    /// Runs the commands of a document.
    pub(crate) fn run(&mut self, document: &str) {
        self.server = None;
        self.ran = 0;
        for block in
            blocks(document).iter().filter(|block| block.language == "sh" && block.not_run().is_none())
        {
            for (line, command) in block.commands() {
                self.enter(&format!("{document}:{line}"), &command);
            }
        }
        println!("{document}: {} commands", self.ran);
    }

    fn enter(&mut self, place: &str, line: &str) {
        if let Some(missing) = self.missing(line) {
            return lacks(&format!("{missing}, for {place}"));
        }
        self.ran += 1;
        let serves = ["wscast serve", "wscast demo", "python3 -m http.server"];
        if serves.iter().any(|words| line.starts_with(words)) || line.contains("-- demo") {
            return self.serve(place, line);
        }
        let endless = ["curl -N", "websocat", "ffplay", "vlc"];
        let listens =
            line.starts_with("wscast listen") && !line.contains("--count") && !line.contains("--seconds");
        let endless = listens || endless.iter().any(|words| line.starts_with(words));
        let said = self.folder.path().join(".said");
        let output = File::create(&said).expect("a file");
        let mut command = self.shell(line);
        command.stdout(output.try_clone().expect("one more")).stderr(output);
        // A tool that also sends reads its standard input, which stays open here.
        command.stdin(if endless { Stdio::piped() } else { Stdio::null() });
        let mut running = Running::start(&mut command);
        let words = || fs::read_to_string(&said).unwrap_or_else(|error| error.to_string());
        let start = Instant::now();
        let mut spoke = None;
        let status = loop {
            if let Some(status) = running.ended() {
                break Some(status);
            }
            if endless && fs::metadata(&said).is_ok_and(|file| file.len() > 0) {
                spoke.get_or_insert_with(Instant::now);
            }
            if spoke.is_some_and(|since| since.elapsed() > SETTLING) {
                break None;
            }
            assert!(start.elapsed() < LONGEST, "{place}: {line}: nothing for {LONGEST:?}:\n{}", words());
            std::thread::sleep(Duration::from_millis(10));
        };
        if let Some(status) = status {
            assert!(status.success(), "{place}: {line}: {status}:\n{}", words());
        }
    }

    /// Starts what serves until something else does, and waits until it listens.
    fn serve(&mut self, place: &str, line: &str) {
        // The one before holds the port.
        if !line.starts_with("python3") {
            self.server = None;
        }
        let mut command = self.shell(line);
        let said = File::create(self.folder.path().join(".server")).expect("a file");
        let mut running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said));
        if line.starts_with("python3") {
            assert!(running.ended().is_none(), "{place}: {line}: it ended at once");
            return;
        }
        let mut first = String::new();
        let mut stdout = BufReader::new(running.0.stdout.take().expect("a pipe"));
        stdout.read_line(&mut first).expect("text");
        let said = fs::read_to_string(self.folder.path().join(".server")).unwrap_or_default();
        assert!(first.starts_with("listening on "), "{place}: {line}: {first}{said}");
        // Its other lines are read by nobody, and need not be.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        self.server = Some(running);
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = self.lab.command(HOST, "sh");
        command.args(["-c", line]).current_dir(self.folder.path());
        command.env("PATH", &self.path).env("HOME", self.folder.path()).env("LC_ALL", "C.UTF-8");
        command
    }

    /// The program of a line that this machine lacks.
    fn missing(&self, line: &str) -> Option<String> {
        let line = line.split(" #").next().unwrap_or(line);
        let words = line.split(['|', ';', '&']).filter_map(|part| part.split_whitespace().next());
        let mut programs = words.filter(|word| !word.contains(['=', '/', '\'', '"']) && *word != "!");
        let there =
            |program: &str| self.path.split(':').any(|folder| PathBuf::from(folder).join(program).exists());
        let builtin = ["cd", "export", "test", ":", "while", "do", "done", "for", "if", "then", "fi"];
        programs.find(|program| !builtin.contains(program) && !there(program)).map(str::to_owned)
    }
}

impl Running {
    /// In a group of its own, so that its pipeline ends with it.
    fn start(command: &mut Command) -> Self {
        Running(command.process_group(0).spawn().expect("start a shell"))
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("our child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = wait_for("a killed shell to end", PATIENCE, || self.0.try_wait().ok().flatten());
    }
}
