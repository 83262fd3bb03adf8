//! Rebuilds every WebAssembly program in the tree from its source.
//!
//! The results are committed, so nobody needs this to build or test Samovar. A program in Rust needs a compiler with
//! the target `wasm32-wasip1`. If the installed toolchain has it, it is used; else Debian's `rustc-web` builds the
//! standard library from `rust-web-src`, and the C compiler in the Python package `ziglang` links it. Both are
//! installed when they are missing. Compilers differ, so the bytes that come out may differ from those committed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{call, cargo, root, target_dir};

const TARGET: &str = "wasm32-wasip1";
/// One mebibyte instead of zig's sixteen: a guest's stack is memory that every run clears.
const STACK: &str = "-Clink-arg=-Wl,-z,stack-size=1048576";
const ZIGLANG: &str = "ziglang==0.17.1";

/// Programs in Rust, by folder, and whether there is a WASI 0.2 component of it too.
const RUST: &[(&str, bool)] = &[("examples/logistic-regression", true)];
/// Programs in WebAssembly's own text.
const TEXT: &str = "guests";

/// Rebuilds all of them in place.
pub(crate) fn run() -> Result<()> {
    let root = root().canonicalize()?;
    let work = target_dir()?.join("guests");
    fs::create_dir_all(&work)?;
    assemble(&root.join(TEXT))?;
    let compiler = Compiler::find_or_install(&work)?;
    println!("building guests with {}", compiler.name());
    for (folder, component) in RUST {
        let module = build(&compiler, &root.join(folder), &work)?;
        if *component {
            componentize(&root, &module, &work)?;
        }
    }
    Ok(())
}

/// Turns each `.wat` into the `.wasm` beside it.
fn assemble(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let source = entry?.path();
        if source.extension().is_some_and(|extension| extension == "wat") {
            let module = wat::parse_file(&source)?;
            write(&source.with_extension("wasm"), &module)?;
        }
    }
    Ok(())
}

/// Builds one Rust program and puts the module beside its manifest.
fn build(compiler: &Compiler, folder: &Path, work: &Path) -> Result<PathBuf> {
    let name = folder.file_name().and_then(|name| name.to_str()).context("a folder has a name")?;
    let target = work.join("target");
    let mut cargo = cargo();
    cargo.current_dir(folder).env("CARGO_TARGET_DIR", &target);
    cargo.args(["build", "--quiet", "--locked", "--release", "--target", TARGET]);
    compiler.configure(&mut cargo);
    call(&mut cargo)?;
    let built = fs::read(target.join(TARGET).join("release").join(name).with_extension("wasm"))?;
    let module = folder.join(name).with_extension("wasm");
    write(&module, &built)?;
    Ok(module)
}

/// Makes a component of a module, with the WASI 0.1 adapter of the wasmtime project.
fn componentize(root: &Path, module: &Path, work: &Path) -> Result<()> {
    let component = module.with_extension("component.wasm");
    let manifest = root.join("guests/componentize/Cargo.toml");
    let mut cargo = cargo();
    cargo.env("CARGO_TARGET_DIR", work.join("componentize"));
    cargo.args(["run", "--quiet", "--locked", "--manifest-path"]).arg(manifest).arg("--").arg(module).arg(&component);
    call(&mut cargo)?;
    println!("{} bytes  {}", fs::metadata(&component)?.len(), component.display());
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes)?;
    println!("{} bytes  {}", bytes.len(), path.display());
    Ok(())
}

/// A Rust compiler that can build for WASI.
enum Compiler {
    /// The installed toolchain has the target.
    Toolchain,
    /// Debian's compiler with the standard library's source, and a linker.
    Debian { linker: PathBuf },
}

/// Debian's compiler, wherever the toolchain that builds Samovar itself comes from.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

impl Compiler {
    fn find_or_install(work: &Path) -> Result<Self> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        if Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir() {
            return Ok(Self::Toolchain);
        }
        if !Path::new("/usr/share/doc/rustc-web").is_dir() || !Path::new("/usr/share/doc/rust-web-src").is_dir() {
            println!("installing rustc-web and rust-web-src");
            let install = Command::new("apt-get").args(["install", "--yes", "rustc-web", "rust-web-src"]).status();
            let installed = install.is_ok_and(|status| status.success());
            ensure!(
                installed,
                "cannot install rustc-web and rust-web-src; `rustup target add {TARGET}` would do as well"
            );
        }
        Ok(Self::Debian { linker: linker(work)? })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Toolchain => "the installed Rust toolchain",
            Self::Debian { .. } => "Debian's rustc-web and zig as linker",
        }
    }

    fn configure(&self, cargo: &mut Command) {
        const VARIABLE: &str = "CARGO_TARGET_WASM32_WASIP1_";
        match self {
            Self::Toolchain => {
                cargo.env(format!("{VARIABLE}RUSTFLAGS"), "-Clink-arg=-zstack-size=1048576");
            }
            Self::Debian { linker } => {
                let flags = "-Clink-self-contained=no -Zunstable-options -Clinker-flavor=wasm-lld-cc";
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                cargo.env(format!("{VARIABLE}LINKER"), linker);
                cargo.env(format!("{VARIABLE}RUSTFLAGS"), format!("{flags} {STACK}"));
                cargo.arg("-Zbuild-std=std,panic_abort");
            }
        }
    }
}

/// Zig's C compiler as linker, in a Python environment of its own, behind a script that drops what it does not take.
fn linker(work: &Path) -> Result<PathBuf> {
    let python = work.join("python/bin/python");
    if !python.is_file() {
        println!("installing {ZIGLANG}");
        call(Command::new("python3").args(["-m", "venv"]).arg(work.join("python")))?;
        call(Command::new(&python).args(["-m", "pip", "install", "--quiet", ZIGLANG]))?;
    }
    let script = work.join("link-wasi");
    let text = format!(
        r#"#!/bin/sh
for argument do
  shift
  case "$argument" in
    --target=*|-Wl,--no-demangle|-Wl,--stack-first|-nodefaultlibs|-Wl,-O1) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec '{}' -m ziglang cc -target wasm32-wasi "$@"
"#,
        python.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8(output.stdout)?)
}
