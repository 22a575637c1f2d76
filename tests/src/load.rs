//! Clients that cost little, for measuring servers on the same cores: JSON-RPC over one kept connection, and a WebSocket
//! that only listens. What goes wrong is a sentence: these are tools for tests and benches.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::cluster::Failure;

/// Longest response or message that is read, in bytes.
const LONGEST: u64 = 256 << 20;

/// One HTTP connection that stays open.
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

fn failed(error: std::io::Error) -> Failure {
    error.to_string()
}

impl Connection {
    /// Connects to a URL of the form `http://HOST:PORT`.
    pub async fn open(url: &str) -> Result<Self, Failure> {
        let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(&host)
            .await
            .map_err(|error| format!("{host}: {error}"))?;
        stream.set_nodelay(true).map_err(failed)?;
        let stream = BufReader::new(stream);
        Ok(Self { stream, host })
    }

    /// Sends a body and returns the body of the response.
    pub async fn post(&mut self, body: &str) -> Result<Vec<u8>, Failure> {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.stream.write_all((head + body).as_bytes()).await.map_err(failed)?;
        let mut length = None;
        let status = self.line().await?;
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            length = length.or(line
                .strip_prefix("content-length:")
                .and_then(|text| text.trim().parse::<u64>().ok()));
        }
        let length = length.filter(|length| *length <= LONGEST);
        let length = length.ok_or_else(|| format!("{}: an answer without a length: {status}", self.host))?;
        let mut body = vec![0; usize::try_from(length).map_err(|error| error.to_string())?];
        self.stream.read_exact(&mut body).await.map_err(failed)?;
        Ok(body)
    }

    /// One call; an error of the server is a failure.
    pub async fn call(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        let body = self.post(&request(method, &params)).await?;
        let mut answer: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        match answer.get("error") {
            Some(error) => Err(format!("{}, {method}: {error}", self.host)),
            None => Ok(answer["result"].take()),
        }
    }

    async fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await.map_err(failed)? {
            0 => Err(format!("{} closed the connection", self.host)),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// A request as it is sent.
pub fn request(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
}

/// A WebSocket that sends one request and then listens.
pub struct Listener(BufReader<TcpStream>);

impl Listener {
    /// Connects and subscribes to new heads.
    pub async fn heads(url: &str) -> Result<Self, Failure> {
        let mut connection = Connection::open(url).await?;
        let hello = format!(
            "GET / HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: b3BlbmxlZGdlciB0ZXN0cw==\r\n\r\n",
            connection.host
        );
        connection.stream.write_all(hello.as_bytes()).await.map_err(failed)?;
        let status = connection.line().await?;
        if !status.contains(" 101 ") {
            return Err(format!("no WebSocket: {status}"));
        }
        while !connection.line().await?.is_empty() {}
        let mut listener = Self(connection.stream);
        listener
            .say(1, request("eth_subscribe", &json!(["newHeads"])).as_bytes())
            .await?;
        let answer = listener.hear().await?;
        match answer["result"].is_string() {
            true => Ok(listener),
            false => Err(format!("not subscribed: {answer}")),
        }
    }

    /// Receives the next message.
    pub async fn hear(&mut self) -> Result<Value, Failure> {
        loop {
            let head = self.bytes::<2>().await?;
            let length = match head[1] & 0x7f {
                126 => u64::from(u16::from_be_bytes(self.bytes().await?)),
                127 => u64::from_be_bytes(self.bytes().await?),
                short => u64::from(short),
            };
            if length > LONGEST {
                return Err(format!("a message of {length} bytes"));
            }
            let mut payload = vec![0; usize::try_from(length).map_err(|error| error.to_string())?];
            self.0.read_exact(&mut payload).await.map_err(failed)?;
            match head[0] {
                0x81 => return serde_json::from_slice(&payload).map_err(|error| error.to_string()),
                0x89 => self.say(10, &payload).await?,
                0x8a => (),
                other => return Err(format!("a frame of kind {other:#x}")),
            }
        }
    }

    /// Sends a short frame, masked with zeros as a client may.
    async fn say(&mut self, kind: u8, payload: &[u8]) -> Result<(), Failure> {
        let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
        let length = length.ok_or("only short frames are sent")?;
        let frame = [&[0x80 | kind, 0x80 | length, 0, 0, 0, 0], payload].concat();
        self.0.write_all(&frame).await.map_err(failed)
    }

    async fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).await.map_err(failed)?;
        Ok(bytes)
    }
}

/// Throughput and latency under a load.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Responses per second.
    pub per_s: u64,
    /// Median latency.
    pub p50: Duration,
    /// 99th percentile of the latency.
    pub p99: Duration,
}

/// Sends one request over and over on `connections` connections for `time`: each connection sends the next as soon as
/// it has a response (closed loop).
pub async fn load(url: &str, body: &str, connections: usize, time: Duration) -> Result<Figures, Failure> {
    let until = Instant::now() + time;
    let one = |url: String, body: String| async move {
        let mut connection = Connection::open(&url).await?;
        let mut took = Vec::new();
        while Instant::now() < until {
            let begun = Instant::now();
            let answer = connection.post(&body).await?;
            took.push(begun.elapsed());
            if answer.windows(9).take(200).any(|part| part == b"\"error\":{") {
                return Err(format!("{body}: {}", String::from_utf8_lossy(&answer)));
            }
        }
        Ok::<_, Failure>(took)
    };
    let begun = Instant::now();
    let tasks: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(one(url.to_owned(), body.to_owned())))
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.map_err(|error| error.to_string())??);
    }
    let elapsed = begun.elapsed().as_millis().max(1);
    took.sort_unstable();
    let at = |per_cent: usize| {
        took.get((took.len() * per_cent / 100).min(took.len() - 1))
            .copied()
            .unwrap_or_default()
    };
    let per_s = u64::try_from(took.len() as u128 * 1_000 / elapsed).map_err(|error| error.to_string())?;
    Ok(Figures {
        per_s,
        p50: at(50),
        p99: at(99),
    })
}
