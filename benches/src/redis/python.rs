//! The locks of Python's libraries, which a process of Python takes and releases on demand.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};

/// The process.
pub struct Python {
    child: Child,
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Python {
    /// The names that [`pair`](Self::pair) knows.
    pub const LOCKS: [&str; 3] = ["redis-py", "python-redis-lock", "bare"];

    /// Starts benches/redis_py.py with this interpreter, which has the libraries.
    pub fn start(interpreter: &Path) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("redis_py.py");
        let mut child = Command::new(interpreter)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", interpreter.display()))?;
        let pipes = child.stdin.take().zip(child.stdout.take()).context("both were asked for")?;
        let python = Self { child, pipes: RefCell::new((pipes.0, BufReader::new(pipes.1))) };
        Ok(python)
    }

    /// The nanoseconds of one of so many pairs: their median.
    pub fn pair(&self, lock: &str, port: u16, pairs: usize) -> Result<f64> {
        let (questions, answers) = &mut *self.pipes.borrow_mut();
        writeln!(questions, "{lock} {port} {pairs}")?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        answer.trim().parse().context("Python has said why it failed")
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
