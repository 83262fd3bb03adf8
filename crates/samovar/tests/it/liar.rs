//! The API of a real node with a liar in between, who keeps every transaction and says that it was refused.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use crate::harness::Network;

/// Whoever asks it believes to ask a node.
pub struct Liar {
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
    file: PathBuf,
}

impl Liar {
    /// In front of the first node; the network file that it writes names nobody else.
    pub fn of(network: &Network) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let api = listener.local_addr().expect("it listens");
        let text = std::fs::read_to_string(network.file()).expect("a network file");
        let mut text: String =
            text.lines().take_while(|line| *line != "[[nodes]]").map(|line| format!("{line}\n")).collect();
        let id = network.status(0).expect("a running node")["node"].as_str().expect("an id").to_owned();
        text.push_str(&format!("[[nodes]]\nid = \"{id}\"\napi = \"http://{api}\"\n"));
        let file = network.path("liar.toml");
        std::fs::write(&file, text).expect("a writable folder");

        let (kept, node) = (Arc::default(), network.api(0));
        let liar = Self { kept: Arc::clone(&kept), file };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, node) = (kept.clone(), node.clone());
                // Whoever hangs up early has heard enough.
                thread::spawn(move || answer(stream, &node, &kept));
            }
        });
        liar
    }

    /// The network file that names nobody else.
    pub fn file(&self) -> &PathBuf {
        &self.file
    }

    /// The transactions it was given, in order.
    pub fn kept(&self) -> Vec<Vec<u8>> {
        self.kept.lock().expect("no panics").clone()
    }
}

fn answer(mut stream: TcpStream, node: &str, kept: &Mutex<Vec<Vec<u8>>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if reader.read_line(&mut head)? <= 2 {
            break;
        }
        if let Some(value) = head[start..].to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if head.starts_with("POST /v1/transactions ") {
        kept.lock().expect("no panics").push(body);
        let problem = r#"{"error":"the liar says no","hint":"offer more"}"#;
        return write!(
            stream,
            "HTTP/1.1 422 Unprocessable Entity\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{problem}",
            problem.len()
        );
    }
    let mut upstream = TcpStream::connect(node)?;
    let head = head.trim_end();
    write!(upstream, "{head}\r\nConnection: close\r\n\r\n")?;
    upstream.write_all(&body)?;
    std::io::copy(&mut upstream, &mut stream).map(|_| ())
}
