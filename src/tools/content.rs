//! What `wscast send` sends: datagrams cut from a file or standard input, or made up.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::thread;

use tokio::sync::mpsc;

use crate::tools::failure::Failure;

/// The payloads to send, one after the other.
#[derive(Debug)]
pub struct Content {
    numbering: Numbering,
    count: u64,
    from: From,
}

/// Whether a datagram begins with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// Its number, from 0, in decimal, and a space.
    Numbered,
    /// Nothing but the content.
    Plain,
}

/// How input is cut into datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// After so many bytes, at least 1; the last one may be shorter.
    Bytes(usize),
    /// At line ends, which are left out.
    Lines,
}

#[derive(Debug)]
enum From {
    Filler(usize),
    /// Read ahead by a thread of its own: a pipe that waits delays neither signals nor the pace.
    Input(mpsc::Receiver<Result<Vec<u8>, Failure>>),
}

/// Datagrams that are read ahead.
const AHEAD: usize = 256;
/// The most that a UDP datagram carries, over IPv4.
const LARGEST: usize = 65507;

impl Content {
    /// Made-up datagrams of `size` bytes, letters mostly. A number that is longer makes the datagram longer.
    #[must_use]
    pub fn filler(size: usize, numbering: Numbering) -> Self {
        Content { numbering, count: 0, from: From::Filler(size) }
    }

    /// What the file at `path` holds, or standard input for `-`, read as it is needed. The number is not counted to
    /// the bytes of [`Cut::Bytes`].
    ///
    /// # Errors
    /// [`Failure::Running`] where there can't be a thread.
    pub fn input(path: &Path, cut: Cut, numbering: Numbering) -> Result<Self, Failure> {
        let (datagrams, received) = mpsc::channel(AHEAD);
        let path = path.to_owned();
        thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || read(&path, cut, &datagrams))
            .map_err(|error| Failure::doing("starting a thread that reads", &error))?;
        Ok(Content { numbering, count: 0, from: From::Input(received) })
    }

    /// The next payload; `None` at the end. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`Failure::Running`] where reading failed or a line is longer than a datagram.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let prefix = match self.numbering {
            Numbering::Numbered => format!("{} ", self.count).into_bytes(),
            Numbering::Plain => Vec::new(),
        };
        let payload = match &mut self.from {
            From::Filler(size) => {
                let filler = (b'a'..=b'z').cycle().take(size.saturating_sub(prefix.len()));
                prefix.into_iter().chain(filler).collect()
            }
            From::Input(received) => match received.recv().await.transpose()? {
                Some(read) if prefix.is_empty() => read,
                Some(read) => [prefix, read].concat(),
                None => return Ok(None),
            },
        };
        self.count += 1;
        Ok(Some(payload))
    }
}

/// Reads everything, until nobody wants it any more.
fn read(path: &Path, cut: Cut, datagrams: &mpsc::Sender<Result<Vec<u8>, Failure>>) {
    let name = if is_standard(path) { "standard input".to_owned() } else { path.display().to_string() };
    let opened: io::Result<Box<dyn Read>> = if is_standard(path) {
        Ok(Box::new(io::stdin().lock()))
    } else {
        File::open(path).map(|file| Box::new(file) as Box<dyn Read>)
    };
    let mut input = match opened {
        Ok(input) => BufReader::with_capacity(64 << 10, input),
        Err(error) => {
            let _ = datagrams.blocking_send(Err(Failure::doing(&format!("opening {name}"), &error)));
            return;
        }
    };
    for line in 1.. {
        let next = match cut {
            Cut::Bytes(size) => chunk(&mut input, size),
            Cut::Lines => one_line(&mut input),
        };
        let item = match next {
            Ok(Some(payload)) => Ok(payload),
            Ok(None) => return,
            Err(error) => {
                let place = if cut == Cut::Lines { format!(", line {line}") } else { String::new() };
                Err(Failure::doing(&format!("reading {name}{place}"), &error))
            }
        };
        let last = item.is_err();
        if datagrams.blocking_send(item).is_err() || last {
            return;
        }
    }
}

/// Whether a path means standard input.
fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The next `size` bytes, or what is left.
fn chunk(input: &mut impl Read, size: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(size);
    input.take(size as u64).read_to_end(&mut bytes)?;
    Ok((!bytes.is_empty()).then_some(bytes))
}

fn one_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    // One more for the line end, and one to see that it is too long.
    let read = input.take(LARGEST as u64 + 2).read_until(b'\n', &mut bytes)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.len() > LARGEST {
        let reason =
            format!("it is longer than the {LARGEST} bytes of a datagram: leave --line out to cut it");
        return Err(io::Error::other(reason));
    }
    Ok((read > 0).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything(mut content: Content) -> Result<Vec<String>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut all = Vec::new();
            while let Some(payload) = content.next().await.map_err(|failure| failure.to_string())? {
                all.push(String::from_utf8(payload).expect("text"));
            }
            Ok(all)
        })
    }

    fn cut(bytes: &[u8], cut: Cut, numbering: Numbering) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("input");
        std::fs::write(&path, bytes).expect("a file");
        everything(Content::input(&path, cut, numbering).expect("a thread"))
    }

    #[test]
    fn input_is_cut_by_bytes_or_lines() {
        let plain = Numbering::Plain;
        assert_eq!(cut(b"abcdefg", Cut::Bytes(3), plain).expect("read"), ["abc", "def", "g"]);
        assert_eq!(cut(b"abcdef", Cut::Bytes(3), plain).expect("read"), ["abc", "def"]);
        assert_eq!(cut(b"a\n\nb\r\nc", Cut::Lines, plain).expect("read"), ["a", "", "b\r", "c"]);
        assert_eq!(cut(b"a\nb\n", Cut::Lines, Numbering::Numbered).expect("read"), ["0 a", "1 b"]);
        assert!(cut(b"", Cut::Lines, plain).expect("read").is_empty());
    }

    #[test]
    fn lines_longer_than_a_datagram_are_named() {
        let longest = [&[b'x'; LARGEST][..], b"\n"].concat();
        assert_eq!(cut(&longest, Cut::Lines, Numbering::Plain).expect("read").len(), 1);
        let longer = [b"short\nx", &longest[..]].concat();
        let error = cut(&longer, Cut::Lines, Numbering::Plain).expect_err("too long");
        assert!(error.contains("line 2") && error.contains("leave --line out"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let content = Content::input(Path::new("/nonexistent"), Cut::Lines, Numbering::Plain);
        let error = everything(content.expect("a thread")).expect_err("not there");
        assert!(error.starts_with("opening /nonexistent: No such file"), "{error}");
    }

    #[test]
    fn filler_has_the_size_asked_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let next = |content: &mut Content| {
            runtime.block_on(content.next()).expect("never fails").expect("never ends")
        };
        let mut numbered = Content::filler(6, Numbering::Numbered);
        assert_eq!((next(&mut numbered), next(&mut numbered)), (b"0 abcd".to_vec(), b"1 abcd".to_vec()));
        assert_eq!(next(&mut Content::filler(1, Numbering::Numbered)), b"0 ");
        assert_eq!(next(&mut Content::filler(30, Numbering::Plain)).len(), 30);
        assert_eq!(next(&mut Content::filler(0, Numbering::Plain)), b"");
    }
}
