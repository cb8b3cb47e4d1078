//! `cargo xtask test`: everything that must hold before a change is merged, except the long runs.
//!
//! Cargo's own output stays visible, so that a failure explains itself where it happens.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::steps::Steps;
use crate::verify::HowMuch;
use crate::{images, packages, verify};

/// Builds with `--cfg loom` keep to themselves, or each kind would throw the other's work away.
const LOOM_TARGET: &str = "target/loom";

const FUZZ: &str = "fuzz/Cargo.toml";

/// Sets up what is missing and takes all steps.
///
/// # Errors
/// If a tool is missing and cannot be installed.
pub fn run() -> Result<ExitCode> {
    let shell = &crate::shell()?;
    set_up(shell)?;
    let mut steps = Steps::default();

    steps.take("format", || Ok(cmd!(shell, "cargo fmt --all --check").run()?));
    // The fuzz targets are a workspace of their own: what they link needs unstable flags.
    let has_fuzz = shell.path_exists(FUZZ);
    if has_fuzz {
        steps.take("format of fuzz/", || {
            Ok(cmd!(shell, "cargo fmt --manifest-path {FUZZ} --check").run()?)
        });
    }

    steps.take("lints", || {
        let everything = ["--workspace", "--all-targets", "--all-features"];
        Ok(cmd!(shell, "cargo clippy {everything...} -- --deny warnings").run()?)
    });
    steps.take("lints, default features", || {
        Ok(cmd!(shell, "cargo clippy --package warded --lib -- --deny warnings").run()?)
    });
    steps.take("lints, loom", || {
        let _flags = shell.push_env("RUSTFLAGS", "--cfg loom");
        let members = ["--workspace", "--exclude", "xtask", "--target-dir", LOOM_TARGET];
        let everything = ["--all-targets", "--all-features"];
        Ok(cmd!(shell, "cargo clippy {members...} {everything...} -- --deny warnings").run()?)
    });

    if has_fuzz {
        steps.take("lints of fuzz/", || {
            // Nothing is linked here, so libFuzzer itself need not be compiled.
            let _library = shell.push_env("CUSTOM_LIBFUZZER_PATH", "not/linked.a");
            let apart = ["--manifest-path", FUZZ, "--target-dir", "target/fuzz"];
            Ok(cmd!(shell, "cargo clippy {apart...} -- --deny warnings").run()?)
        });
    }

    steps.take("unit and integration tests", || {
        // Processes start quickly; what containers show comes below, for each image.
        let _server = shell.push_env("WARDED_REDIS_SERVER", redis_program(shell));
        let kinds = ["--lib", "--bins", "--tests"];
        Ok(cmd!(shell, "cargo test --workspace --all-features {kinds...}").run()?)
    });
    steps.take("documentation tests", || {
        Ok(cmd!(shell, "cargo test --workspace --all-features --doc").run()?)
    });
    steps.take("documentation", || {
        let _flags = shell.push_env("RUSTDOCFLAGS", "--deny warnings");
        Ok(cmd!(shell, "cargo doc --package warded --all-features --no-deps").run()?)
    });
    redis_on_images(shell, &mut steps);
    steps.take("examples", || examples(shell));
    steps.take("the examples in Redis", || examples_in_redis(shell));
    steps.take("loom models, fast tier", || {
        let _flags = shell.push_env("RUSTFLAGS", "--cfg loom");
        Ok(cmd!(shell, "cargo test --release --target-dir {LOOM_TARGET}").run()?)
    });

    steps.take("proof of the engine, quick", || {
        verify::prove(&shell.current_dir(), HowMuch::Quick).map(drop)
    });

    steps.take("the default build depends on nothing", || packages::default_build(shell));
    steps.take("the tour compiles what README.md says", || packages::tour(shell));

    Ok(steps.sum_up())
}

/// Installs the parts of the toolchain that the steps need and that are not there.
fn set_up(shell: &Shell) -> Result<()> {
    for (component, probe) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if cmd!(shell, "cargo {probe} --version").quiet().ignore_stderr().read().is_err() {
            cmd!(shell, "rustup component add {component}").run().with_context(|| {
                format!("{component} is missing; install it as this machine's Rust was installed")
            })?;
        }
    }
    proof_tools(shell)?;
    redis_server(shell)
}

/// The proof needs Python, to install its solver beside it, and a C++ compiler for its searches.
fn proof_tools(shell: &Shell) -> Result<()> {
    let has = |probe: &[&str]| {
        let (program, args) = probe.split_first().expect("a probe names a program");
        cmd!(shell, "{program} {args...}").quiet().ignore_stdout().ignore_stderr().run().is_ok()
    };
    if has(&["python3", "-c", "import venv, ensurepip"]) && has(&["g++", "--version"]) {
        return Ok(());
    }
    let install = || {
        cmd!(shell, "apt-get update").run()?;
        cmd!(shell, "apt-get install --yes --no-install-recommends python3-venv g++").run()
    };
    install().context("the proof of the engine needs python3 with venv, and g++; install them")
}

/// The Redis tests start servers of their own. They never skip, so the program must be there.
fn redis_server(shell: &Shell) -> Result<()> {
    let named = shell.var_os("WARDED_REDIS_SERVER");
    let program = redis_program(shell);
    if cmd!(shell, "{program} --version").quiet().ignore_stdout().ignore_stderr().run().is_ok() {
        return Ok(());
    }
    anyhow::ensure!(named.is_none(), "WARDED_REDIS_SERVER names {program:?}, which does not run");
    let install = || {
        cmd!(shell, "apt-get update").run()?;
        // The program alone: the package would start a server that nobody asked for.
        let _policy = shell.push_env("RUNLEVEL", "1");
        cmd!(shell, "apt-get install --yes --no-install-recommends redis-server").run()
    };
    install().context(
        "the Redis tests need the program redis-server (6.2 or later) or Valkey's; install it, or \
         name one in WARDED_REDIS_SERVER",
    )
}

fn redis_program(shell: &Shell) -> OsString {
    shell.var_os("WARDED_REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}

/// The Redis tests once more on each server there is an image of: those that say whether it is a
/// server for this at all.
fn redis_on_images(shell: &Shell, steps: &mut Steps) {
    if !images::has_docker(shell) {
        println!("\nNo Docker: the Redis tests have run against one server only.");
        return;
    }
    for image in &images::IMAGES {
        let name = image.name;
        if !image.is_there(shell) {
            println!("\nNo image {name}: `cargo xtask images` gets it.");
            continue;
        }
        steps.take(&format!("Redis tests on {name}"), || {
            let _image = shell.push_env("WARDED_REDIS_IMAGE", name);
            let some = ["the_specification", "locking::", "topology::", "cluster::", "errors::"];
            // The same build as above.
            let tests = ["--workspace", "--all-features", "--test", "redis"];
            Ok(cmd!(shell, "cargo test {tests...} -- {some...}").run()?)
        });
    }
}

/// What of the examples needs a server, with one of its own.
fn examples_in_redis(shell: &Shell) -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let mut server = Command::new(redis_program(shell))
        .args(["--bind", "127.0.0.1", "--port", &port, "--save", ""])
        .stdout(Stdio::null())
        .spawn()?;
    let url = format!("redis://127.0.0.1:{port}");
    let run = ["run", "--release", "--package", "warded-examples", "--features", "redis"];
    let toured = cmd!(shell, "cargo {run...} --bin tour -- --redis {url}").run();
    let worked = cmd!(shell, "cargo {run...} --example redis_worker -- {url}").run();
    server.kill()?;
    server.wait()?;
    toured?;
    Ok(worked?)
}

/// Runs every example. Each checks what it shows.
fn examples(shell: &Shell) -> Result<()> {
    for path in shell.read_dir("examples")? {
        let target = match path.extension() {
            Some(extension) if extension == "rs" => "--example",
            None if path.join("main.rs").exists() => "--bin",
            _ => continue,
        };
        let name = path.file_stem().map(Path::new).context("an example without a name")?;
        cmd!(shell, "cargo run --release --package warded-examples {target} {name}").run()?;
    }
    Ok(())
}
