//! A second connection to the same server, for who is alone: a request goes out and its answer comes
//! in on the thread that asks.
//!
//! On a near server the threads' waking each other takes longer than the server. So whoever finds
//! nothing under way writes its request itself and looks for the answer for a moment; what has not
//! come by then is left to the driver, which waits for it as for any other. If answers take longer
//! than that of late, wherever they came from, all goes over the link. Only one set of requests at a
//! time goes this way, and the connection belongs to the link: it is made after it, to the same
//! server, and ends with it.

use std::collections::VecDeque;
use std::hint;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::TcpStream;
use std::pin::pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use futures_util::future::{Either, select};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, Parser, RedisResult, Value};
use socket2::SockRef;
use tokio::io::Interest;

use super::clock;
use super::link::settings;
use crate::redis::client::{CallId, Reply, Request};
use crate::redis::error::RedisError;
use crate::redis::lease::Moment;
use crate::redis::wire::Form;

/// More at once, or longer ones, take their time anyway, and the driver's connection carries them.
pub(super) const MOST_REQUESTS: usize = 4;
const MOST_BYTES: usize = 4096;

/// Who looks for an answer does so for this long at most, and not at all if answers usually take as
/// long: a thread that executes tasks is not to be kept from the others for longer.
const LONGEST_LOOK: Duration = Duration::from_micros(100);

#[derive(Default)]
pub(super) struct Answers {
    pub(super) known: Vec<(CallId, Result<Reply, RedisError>)>,
    /// Requests whose scripts the server does not know.
    pub(super) unknown: Vec<(CallId, Request)>,
}

/// What has become of requests that were sent here.
pub(super) enum Sent {
    Answered(Answers),
    /// The driver is to wait for the answers.
    Waits,
    Broken(RedisError),
    /// They are too long, and were not sent.
    TooLong(Vec<(CallId, Request)>),
    /// Neither were these: the server has closed the connection while it was idle.
    Closed(Vec<(CallId, Request)>),
}

pub(super) struct Express {
    socket: TcpStream,
    /// The same socket, as the driver's runtime watches it.
    watched: tokio::net::TcpStream,
    parser: Parser,
    /// What is not answered, in the order of sending, and when it was sent.
    under_way: VecDeque<(CallId, Request)>,
    sent: Moment,
    answers: Answers,
    has_served: bool,
    pace: Pace,
}

impl Express {
    /// To the server that `link` goes to. Nothing, if that is not certain, or if it takes more than
    /// plain TCP.
    pub(super) async fn connect(client: Client, mut link: MultiplexedConnection) -> Option<Self> {
        // Who looks would keep the only processor from a server that is near.
        if thread::available_parallelism().is_ok_and(|processors| processors.get() == 1) {
            return None;
        }
        let info = client.get_connection_info();
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return None;
        };
        let socket = tokio::net::TcpStream::connect((&**host, *port)).await.ok()?;
        let socket = socket.into_std().ok()?;
        set_up(&socket, &settings(&client)).ok()?;
        // A login as any other; then this connection has done its work.
        let login = tokio::net::TcpStream::from_std(socket.try_clone().ok()?).ok()?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let login = MultiplexedConnection::new_with_config(info.redis_settings(), login, config);
        let (mut here, driving) = login.await.ok()?;
        let named = async { (server_id(&mut link).await, server_id(&mut here).await) };
        let (there, here) = match select(pin!(named), pin!(driving)).await {
            Either::Left(((there, here), _)) => (there.ok()??, here.ok()??),
            Either::Right(_) => return None,
        };
        (there == here).then_some(())?;
        Self::on(socket).ok()
    }

    fn on(socket: TcpStream) -> io::Result<Self> {
        Ok(Self {
            watched: tokio::net::TcpStream::from_std(socket.try_clone()?)?,
            socket,
            parser: Parser::new(),
            under_way: VecDeque::new(),
            sent: clock::now(),
            answers: Answers::default(),
            has_served: false,
            // Nothing is known, so nobody looks.
            pace: Pace(LONGEST_LOOK),
        })
    }

    /// Whether it has ever brought an answer.
    pub(super) fn has_served(&self) -> bool {
        self.has_served
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether to send something here: nothing else is under way, and an answer is likely to come
    /// while somebody looks for it.
    pub(super) fn is_free(&self) -> bool {
        self.is_idle() && self.pace.is_near()
    }

    /// An answer on the link took so long.
    pub(super) fn note(&mut self, took: Duration) {
        self.pace.note(took);
    }

    /// Sends these requests and looks for the answers. It must be [free](Self::is_free).
    pub(super) fn ask(&mut self, requests: Vec<(CallId, Request)>, channel: &str) -> Sent {
        let values = requests.iter().map(|(_, request)| match request {
            Request::Write { value, .. } => value.len(),
            _ => 0,
        });
        if values.sum::<usize>() > MOST_BYTES {
            return Sent::TooLong(requests);
        }
        let mut bytes = Vec::with_capacity(512);
        for (_, request) in &requests {
            request.command(Form::Digest, channel).write_packed_command(&mut bytes);
        }
        if bytes.len() > MOST_BYTES {
            return Sent::TooLong(requests);
        }
        if self.is_closed() {
            return Sent::Closed(requests);
        }
        self.sent = clock::now();
        self.under_way.extend(requests);
        match self.socket.write(&bytes) {
            Ok(written) if written == bytes.len() => self.look(),
            // The socket was empty, and has room for far more.
            Ok(_) => Sent::Broken(broken(ErrorKind::WriteZero.into())),
            Err(error) => Sent::Broken(broken(error)),
        }
    }

    /// Nothing is expected: what there is to be read is the end, or nothing that is understood.
    fn is_closed(&self) -> bool {
        let read = self.socket.peek(&mut [0]);
        !read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn look(&mut self) -> Sent {
        let until = self.sent + LONGEST_LOOK;
        loop {
            match self.read(Some(until)) {
                Ok(true) => return Sent::Answered(mem::take(&mut self.answers)),
                Ok(false) if clock::now() < until => hint::spin_loop(),
                Ok(false) => return Sent::Waits,
                Err(failure) => return Sent::Broken(failure),
            }
        }
    }

    /// The driver waits for what is under way.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answers, RedisError>> {
        loop {
            if self.watched.poll_read_ready(cx).is_pending() {
                return Poll::Pending;
            }
            let socket = &self.socket;
            // Asked like this, the runtime learns when there is no more to be read.
            match self.watched.try_io(Interest::READABLE, || socket.peek(&mut [0])) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(broken(error))),
                Ok(_) if self.is_idle() => {
                    return Poll::Ready(Err(broken(ErrorKind::UnexpectedEof.into())));
                }
                Ok(_) => match self.read(None) {
                    Ok(true) => return Poll::Ready(Ok(mem::take(&mut self.answers))),
                    Ok(false) => {}
                    Err(failure) => return Poll::Ready(Err(failure)),
                },
            }
        }
    }

    /// Reads what there is, for so long at most; whether that is all.
    fn read(&mut self, until: Option<Moment>) -> Result<bool, RedisError> {
        while let Some((_, request)) = self.under_way.front() {
            let mut incoming = Incoming { socket: &self.socket, until, is_empty: false };
            let answer = match self.parser.parse_value(&mut incoming) {
                Ok(Value::Push { .. }) => continue,
                Ok(Value::ServerError(error)) => Err(RedisError::classify(error.into())),
                Ok(value) => match request.read(&value) {
                    // Whose answer is it then?
                    Err(RedisError::Garbled { .. }) => {
                        return Err(broken(ErrorKind::InvalidData.into()));
                    }
                    answer => answer,
                },
                Err(_) if incoming.is_empty => return Ok(false),
                Err(error) => return Err(RedisError::classify(error)),
            };
            let (call, request) = self.under_way.pop_front().expect("it was just looked at");
            match answer {
                Err(RedisError::NoScript(_)) => self.answers.unknown.push((call, request)),
                answer => self.answers.known.push((call, answer)),
            }
        }
        self.has_served = true;
        self.pace.note(clock::now().since(self.sent));
        Ok(true)
    }
}

fn broken(error: io::Error) -> RedisError {
    RedisError::classify(error.into())
}

/// As the client sets up its own connections.
fn set_up(socket: &TcpStream, settings: &TcpSettings) -> io::Result<()> {
    socket.set_nodelay(settings.nodelay())?;
    let socket = SockRef::from(socket);
    if let Some(keepalive) = settings.keepalive() {
        socket.set_tcp_keepalive(keepalive)?;
    }
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    socket.set_tcp_user_timeout(settings.user_timeout())?;
    Ok(())
}

/// What tells a server, from its start to its end, from all others.
async fn server_id(connection: &mut MultiplexedConnection) -> RedisResult<Option<String>> {
    let info: String = redis::cmd("INFO").arg("server").query_async(connection).await?;
    Ok(info.lines().find_map(|line| line.strip_prefix("run_id:")).map(str::to_owned))
}

struct Incoming<'a> {
    socket: &'a TcpStream,
    /// What comes later is left for another time.
    until: Option<Moment>,
    /// Nothing more can be read now.
    is_empty: bool,
}

impl Read for Incoming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.until.is_some_and(|until| clock::now() >= until) {
            self.is_empty = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        match self.socket.read(buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) => {
                self.is_empty = error.kind() == ErrorKind::WouldBlock;
                Err(error)
            }
            read => read,
        }
    }
}

/// How long answers take of late: a mean in which each counts an eighth, and one that was late for
/// reasons of its own not much more than others.
struct Pace(Duration);

impl Pace {
    fn note(&mut self, took: Duration) {
        self.0 = (self.0 * 7 + took.min(LONGEST_LOOK * 2)) / 8;
    }

    /// Whether an answer is likely to come while somebody looks for it.
    fn is_near(&self) -> bool {
        self.0 < LONGEST_LOOK
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::future::poll_fn;
    use std::net::TcpListener;

    use tokio::runtime::Runtime;

    use super::*;

    /// An express connection to a server that is played by the test.
    pub(in super::super) struct Stage {
        express: Option<Express>,
        server: TcpStream,
        runtime: Runtime,
    }

    impl Stage {
        pub(in super::super) fn new() -> Self {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            socket.set_nonblocking(true).unwrap();
            let (server, _) = listener.accept().unwrap();
            server.set_nodelay(true).unwrap();
            let _entered = runtime.enter();
            let mut express = Express::on(socket).unwrap();
            assert!(!express.is_free(), "nothing is known of the server");
            for _ in 0..10 {
                express.note(Duration::from_micros(20));
            }
            assert!(express.is_free());
            drop(_entered);
            Self { express: Some(express), server, runtime }
        }

        /// The connection, and the stage without it.
        pub(in super::super) fn split(mut self) -> (Express, Self) {
            (self.express.take().unwrap(), self)
        }

        pub(in super::super) fn server(&self) -> &TcpStream {
            &self.server
        }

        /// Answers as soon as something is asked.
        pub(in super::super) fn answers(&self, answer: String) -> thread::JoinHandle<()> {
            let mut server = self.server.try_clone().unwrap();
            thread::spawn(move || {
                // All of it, so that nothing is taken for the next question: it comes in one piece.
                assert!(server.read(&mut [0; 4096]).unwrap() > 0);
                server.write_all(answer.as_bytes()).unwrap();
            })
        }

        /// Asks so many questions, and is answered this, if it is anything.
        pub(in super::super) fn ask(&mut self, questions: u64, answer: &str) -> Sent {
            let requests = (0..questions).map(|call| (call, Request::Read { key: "k".into() }));
            let requests = requests.collect();
            let server = (!answer.is_empty()).then(|| self.answers(answer.to_owned()));
            let sent = self.express.as_mut().unwrap().ask(requests, "channel");
            server.into_iter().for_each(|server| server.join().unwrap());
            sent
        }

        /// What the driver would find.
        pub(in super::super) fn wait(&self, express: &mut Express) -> Result<Answers, RedisError> {
            self.runtime.block_on(async {
                let found = poll_fn(|cx| express.poll(cx));
                tokio::time::timeout(Duration::from_secs(20), found).await.expect("something comes")
            })
        }

        fn found(&mut self) -> Result<Answers, RedisError> {
            let mut express = self.express.take().unwrap();
            let found = self.wait(&mut express);
            self.express = Some(express);
            found
        }

        /// Whichever of the two finds it.
        pub(in super::super) fn find(&mut self, sent: Sent) -> Result<Answers, RedisError> {
            match sent {
                Sent::Answered(answers) => Ok(answers),
                Sent::Waits => self.found(),
                Sent::Broken(failure) => Err(failure),
                Sent::TooLong(_) | Sent::Closed(_) => panic!("it was not sent"),
            }
        }
    }

    const NOTHING: &str = "*3\r\n:-1\r\n:7\r\n$0\r\n\r\n";

    fn times(answers: &Answers) -> Vec<(CallId, u64)> {
        let time = |(call, reply): &(CallId, Result<Reply, RedisError>)| match reply {
            Ok(Reply::Read { now, .. }) => (*call, *now),
            other => panic!("{other:?}"),
        };
        answers.known.iter().map(time).collect()
    }

    #[test]
    fn answers_are_found_by_whoever_is_there() {
        let mut stage = Stage::new();
        for _ in 0..100 {
            let sent = stage.ask(2, &NOTHING.repeat(2));
            let answers = stage.find(sent).unwrap();
            assert_eq!(times(&answers), [(0, 7), (1, 7)]);
            assert!(stage.express.as_ref().unwrap().is_idle());
        }
    }

    #[test]
    fn an_answer_in_pieces_is_put_together() {
        let mut stage = Stage::new();
        assert!(matches!(stage.ask(2, ""), Sent::Waits));
        assert!(!stage.express.as_ref().unwrap().is_free());
        let mut server = stage.server.try_clone().unwrap();
        let answers = thread::spawn(move || {
            for byte in NOTHING.repeat(2).bytes() {
                thread::sleep(Duration::from_millis(1));
                server.write_all(&[byte]).unwrap();
            }
        });
        assert_eq!(times(&stage.found().unwrap()), [(0, 7), (1, 7)]);
        answers.join().unwrap();
    }

    #[test]
    fn a_slow_server_is_not_looked_at() {
        let mut stage = Stage::new();
        for _ in 0..20 {
            stage.express.as_mut().unwrap().note(Duration::from_secs(1));
        }
        assert!(!stage.express.as_ref().unwrap().is_free());
        for _ in 0..20 {
            stage.express.as_mut().unwrap().note(Duration::from_micros(20));
        }
        assert!(stage.express.as_ref().unwrap().is_free());
    }

    #[test]
    fn what_the_server_says_of_itself_is_no_answer() {
        let mut stage = Stage::new();
        let sent = stage.ask(1, &format!(">2\r\n$10\r\ninvalidate\r\n*0\r\n{NOTHING}"));
        let answers = stage.find(sent).unwrap();
        assert_eq!(times(&answers), [(0, 7)]);
    }

    #[test]
    fn requests_with_unknown_scripts_are_given_back() {
        let mut stage = Stage::new();
        let sent = stage.ask(2, &format!("-NOSCRIPT No matching script.\r\n{NOTHING}"));
        let answers = stage.find(sent).unwrap();
        assert_eq!(times(&answers), [(1, 7)]);
        assert!(matches!(answers.unknown[..], [(0, Request::Read { .. })]));
    }

    #[test]
    fn what_is_no_answer_breaks_the_connection() {
        for (answer, what) in [(":1\r\n", "another's answer"), ("what?\r\n", "no answer")] {
            let mut stage = Stage::new();
            let sent = stage.ask(1, answer);
            let failure = stage.find(sent).err().expect(what);
            assert!(failure.is_about_the_link(), "{what}: {failure:?}");
        }
    }

    #[test]
    fn a_connection_that_ends_in_the_middle_is_broken() {
        let mut stage = Stage::new();
        assert!(matches!(stage.ask(1, ""), Sent::Waits));
        stage.server.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(stage.found().is_err_and(|failure| failure.is_about_the_link()));
        assert!(!stage.express.as_ref().unwrap().is_idle());
    }

    #[test]
    fn on_a_connection_that_was_closed_nothing_is_sent() {
        let mut stage = Stage::new();
        stage.server.shutdown(std::net::Shutdown::Both).unwrap();
        // The driver sees it, too.
        assert!(stage.found().is_err());
        assert!(stage.express.as_ref().unwrap().is_idle());
        assert!(matches!(stage.ask(1, ""), Sent::Closed(requests) if requests.len() == 1));
    }

    #[test]
    fn long_requests_go_elsewhere() {
        let mut stage = Stage::new();
        let value = vec![0; MOST_BYTES + 1].into();
        let (key, writer) = ("k".into(), "w".to_owned());
        let write = Request::Write { key, fence: 1, writer, seq: 1, value };
        assert!(matches!(
            stage.express.as_mut().unwrap().ask(vec![(1, write)], "channel"),
            Sent::TooLong(_)
        ));
        let read = Request::Read { key: "k".repeat(MOST_BYTES).into() };
        assert!(matches!(
            stage.express.as_mut().unwrap().ask(vec![(1, read)], "channel"),
            Sent::TooLong(_)
        ));
        assert!(stage.express.as_ref().unwrap().is_free());
    }
}
