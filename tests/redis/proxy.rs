//! A proxy between the locks and the server that does what networks do: it delays, swallows, cuts,
//! and sends again.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redis::Client;

use super::server::client;

/// A running proxy. Its threads end with their connections; the one that accepts ends with the
/// process.
#[derive(Clone)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    target: AtomicU16,
    swallow_requests: AtomicBool,
    swallow_replies: AtomicBool,
    delay_us: AtomicU64,
    /// Connections of before this one's number are black holes.
    half_open_before: AtomicU64,
    /// How many bytes of replies still pass before all is cut; negative if any number.
    replies_left: AtomicI64,
    connections: Mutex<Vec<TcpStream>>,
    accepted: AtomicU64,
    /// What clients have sent, in pieces as they came.
    sent: Mutex<Vec<Vec<u8>>>,
}

impl Proxy {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = Arc::new(State::default());
        state.target.store(port, Ordering::SeqCst);
        state.replies_left.store(-1, Ordering::SeqCst);
        let proxy = Self { port: listener.local_addr().unwrap().port(), state: state.clone() };
        thread::spawn(move || {
            for near in listener.incoming() {
                accept(&state, near.unwrap());
            }
        });
        proxy
    }

    pub fn client(&self) -> Client {
        client(self.port)
    }

    /// What is sent to the server never arrives there.
    pub fn swallow_requests(&self, yes: bool) {
        self.state.swallow_requests.store(yes, Ordering::SeqCst);
    }

    /// What the server answers never arrives here.
    pub fn swallow_replies(&self, yes: bool) {
        self.state.swallow_replies.store(yes, Ordering::SeqCst);
    }

    /// Neither way.
    pub fn partition(&self, yes: bool) {
        self.swallow_requests(yes);
        self.swallow_replies(yes);
    }

    /// The connections that there are stay open, but nothing passes them any more.
    pub fn half_open(&self) {
        let next = self.state.accepted.load(Ordering::SeqCst);
        self.state.half_open_before.store(next, Ordering::SeqCst);
    }

    /// Every piece is this late, in each direction.
    pub fn delay(&self, time: Duration) {
        self.state.delay_us.store(time.as_micros() as u64, Ordering::SeqCst);
    }

    /// New connections go to another server.
    pub fn turn_to(&self, port: u16) {
        self.state.target.store(port, Ordering::SeqCst);
    }

    /// All connections break.
    pub fn cut(&self) {
        for connection in self.state.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// All connections break when so many more bytes of replies have passed.
    pub fn cut_after(&self, bytes: i64) {
        self.state.replies_left.store(bytes, Ordering::SeqCst);
    }

    /// What was sent to the server since the last call.
    pub fn take_sent(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.state.sent.lock().unwrap())
    }
}

/// Sends to the server what was sent before: messages that the network delivers twice, and late.
pub fn send_again(port: u16, pieces: &[Vec<u8>]) {
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    for piece in pieces {
        server.write_all(piece).unwrap();
    }
    // What comes back says that all was executed.
    server.shutdown(Shutdown::Write).unwrap();
    server.read_to_end(&mut Vec::new()).unwrap();
}

fn accept(state: &Arc<State>, near: TcpStream) {
    let target = state.target.load(Ordering::SeqCst);
    let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { return };
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let number = state.accepted.fetch_add(1, Ordering::SeqCst);
    let mut connections = state.connections.lock().unwrap();
    connections.push(near.try_clone().unwrap());
    connections.push(far.try_clone().unwrap());
    drop(connections);
    let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let state_too = state.clone();
    thread::spawn(move || pump(&state_too, number, near_too, far_too, true));
    let state = state.clone();
    thread::spawn(move || pump(&state, number, far, near, false));
}

fn pump(state: &State, number: u64, mut from: TcpStream, mut to: TcpStream, requests: bool) {
    let mut buffer = [0; 65536];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 {
            break;
        }
        let delay = state.delay_us.load(Ordering::SeqCst);
        if delay > 0 {
            thread::sleep(Duration::from_micros(delay));
        }
        let mut piece = &buffer[..length];
        if number < state.half_open_before.load(Ordering::SeqCst) {
            continue;
        }
        if requests {
            if state.swallow_requests.load(Ordering::SeqCst) {
                continue;
            }
            state.sent.lock().unwrap().push(piece.to_vec());
        } else {
            if state.swallow_replies.load(Ordering::SeqCst) {
                continue;
            }
            let left = state.replies_left.load(Ordering::SeqCst);
            if left >= 0 {
                let pass = length.min(left as usize);
                piece = &piece[..pass];
                state.replies_left.store(left - pass as i64, Ordering::SeqCst);
                if pass < length {
                    let _ = to.write_all(piece);
                    state.replies_left.store(-1, Ordering::SeqCst);
                    break;
                }
            }
        }
        if to.write_all(piece).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
