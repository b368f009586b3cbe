//! One connection to one server, as a task of its own: questions go out as they come, answers come back in their order.
//!
//! Any fault ends the whole connection and everything under way on it.

use super::server::Server;
use super::wire::{Answer, Expected, parse_answer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// A question and where its answer goes. The asker may be gone by then.
pub(super) struct Exchange {
    pub(super) bytes: Vec<u8>,
    pub(super) expected: Expected,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) reply: Duration,
}

/// Opens a connection, from within a `LocalSet`. Exchanges may be sent at once; when the receiver is gone, so is the
/// connection.
pub(super) fn open(server: Arc<Server>, patience: Patience) -> mpsc::UnboundedSender<Exchange> {
    let (exchanges, receiver) = mpsc::unbounded_channel();
    tokio::task::spawn_local(async move {
        if let Err(reason) = run(&server, receiver, patience).await {
            server.failed(&reason);
        }
    });
    exchanges
}

async fn run(server: &Server, exchanges: mpsc::UnboundedReceiver<Exchange>, patience: Patience) -> Result<(), String> {
    let connected = tokio::time::timeout(patience.connect, TcpStream::connect(&server.address)).await;
    let stream =
        connected.map_err(|_elapsed| "no connection in time".to_owned())?.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let input = Vec::with_capacity(INPUT_BYTES);
    let mut link = Link { server, in_flight: VecDeque::new(), out: Vec::new(), written: 0, input };
    link.serve(stream, exchanges, patience.reply).await
}

/// Room for some answers; it grows when it must.
const INPUT_BYTES: usize = 8 * 1024;

struct Waiting {
    expected: Expected,
    answer: oneshot::Sender<Answer>,
    asked: Instant,
}

struct Link<'a> {
    server: &'a Server,
    /// Asked and not answered, oldest first.
    in_flight: VecDeque<Waiting>,
    out: Vec<u8>,
    written: usize,
    input: Vec<u8>,
}

impl Link<'_> {
    /// Until nobody can ask any more, or the server hangs up while nothing is under way.
    async fn serve(
        &mut self,
        mut stream: TcpStream,
        mut exchanges: mpsc::UnboundedReceiver<Exchange>,
        patience: Duration,
    ) -> Result<(), String> {
        let (mut reader, mut writer) = stream.split();
        let alarm = tokio::time::sleep(patience);
        tokio::pin!(alarm);
        loop {
            tokio::select! {
                exchange = exchanges.recv() => {
                    let Some(exchange) = exchange else { return Ok(()) };
                    self.ask(exchange);
                    while let Ok(exchange) = exchanges.try_recv() {
                        self.ask(exchange);
                    }
                }
                written = writer.write(&self.out[self.written..]), if self.written < self.out.len() => {
                    self.written += written.map_err(|error| error.to_string())?;
                    if self.written == self.out.len() {
                        self.out.clear();
                        self.written = 0;
                    }
                }
                read = reader.read_buf(&mut self.input) => {
                    if read.map_err(|error| error.to_string())? == 0 {
                        return self.hung_up();
                    }
                    self.deliver()?;
                }
                () = alarm.as_mut(), if !self.in_flight.is_empty() => {
                    let due = self.in_flight.front().map_or_else(Instant::now, |oldest| oldest.asked) + patience;
                    if due <= Instant::now() {
                        return Err("no answer in time".to_owned());
                    }
                    alarm.as_mut().reset(due);
                }
            }
        }
    }

    fn ask(&mut self, Exchange { bytes, expected, answer }: Exchange) {
        self.out.extend_from_slice(&bytes);
        self.in_flight.push_back(Waiting { expected, answer, asked: Instant::now() });
    }

    /// A server may close a connection that nobody uses.
    fn hung_up(&self) -> Result<(), String> {
        if self.in_flight.is_empty() { Ok(()) } else { Err("connection closed".to_owned()) }
    }

    /// Gives the answers that have come in to their askers.
    fn deliver(&mut self) -> Result<(), String> {
        let mut consumed = 0;
        while consumed < self.input.len() {
            let Some(oldest) = self.in_flight.front() else { return Err("answered without a question".to_owned()) };
            let parsed = parse_answer(&self.input[consumed..], &oldest.expected).map_err(|error| error.to_string())?;
            let Some((answer, length)) = parsed else { break };
            consumed += length;
            if let Some(oldest) = self.in_flight.pop_front() {
                self.server.answered(oldest.asked.into_std());
                // Who does not wait any more does not need the answer.
                let _gone = oldest.answer.send(answer);
            }
        }
        self.input.drain(..consumed);
        Ok(())
    }
}
