//! An image for Docker, made of weir's own binary and the libraries it needs, without a registry.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

/// Makes `image` from `binary`, which is `/weir` in it, and from what lies in [`root`] of `folder` already; works in `folder`.
///
/// # Errors
/// What the engine said, or which tool is missing.
pub fn import(binary: &Path, folder: &Path, image: &str) -> anyhow::Result<()> {
    let archive = archive(binary, folder)?;
    docker(&["import", &archive.display().to_string(), image]).map(drop)
}

/// Makes what `docker import` takes: `binary` as `/weir`, with its libraries; works in `folder`.
///
/// # Errors
/// Which tool is missing, or which file could not be written.
pub fn archive(binary: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let archive = folder.join("image.tar");
    let root = root(folder);
    copy_binary(binary, &root)?;
    run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."))?;
    Ok(archive)
}

/// Where the file system of an image lies that is made in `folder`.
pub fn root(folder: &Path) -> PathBuf {
    folder.join("image")
}

/// Runs `docker` with these arguments; what it printed. An interrupt from the terminal is not its own, so that what it has begun
/// is there to be undone.
///
/// # Errors
/// What it complained of.
pub fn docker(arguments: &[&str]) -> anyhow::Result<String> {
    run(Command::new("docker").args(arguments))
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .with_context(|| format!("cannot run `{name}`: is it installed?"))?;
    anyhow::ensure!(output.status.success(), "`{name}`: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Copies a binary and the libraries that it is linked with into a file system of their own.
fn copy_binary(binary: &Path, root: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(root.join("tmp"))?;
    std::fs::copy(binary, root.join("weir"))?;
    let listed = Command::new("ldd").arg(binary).output().context("cannot run `ldd`")?;
    for library in libraries(&String::from_utf8_lossy(&listed.stdout)) {
        let place = root.join(library.strip_prefix("/").unwrap_or(&library));
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(&library, &place).with_context(|| format!("cannot copy {}", library.display()))?;
    }
    Ok(())
}

/// The files in the output of `ldd`: `libc.so.6 => /lib/libc.so.6 (0x…)` and `/lib64/ld-linux.so.2 (0x…)`.
fn libraries(listed: &str) -> BTreeSet<PathBuf> {
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_a_binary_are_read_from_ldd() {
        let listed =
            "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t/lib64/ld-linux.so.2 (0x3)\n";
        let expected = ["/lib/libc.so.6", "/lib64/ld-linux.so.2"].map(PathBuf::from);
        assert_eq!(libraries(listed), BTreeSet::from(expected));
    }
}
