//! Small guests for tests, as text.

use std::path::{Path, PathBuf};

/// Imports and helpers of every guest: `write(fd, address, length)`.
const PRELUDE: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2)
    (func $write (param $fd i32) (param $at i32) (param $bytes i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $bytes))
        (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
"#;

/// Writes `hello` and ends with an exit code.
pub(crate) fn hello(exit_code: u8) -> Vec<u8> {
    module(&format!(
        r#"(data (i32.const 64) "hello\n")
           (func (export "_start")
               (call $write (i32.const 1) (i32.const 64) (i32.const 6))
               (call $exit (i32.const {exit_code})))"#
    ))
}

/// Copies the first KiB of `/data/<name>` to standard output.
pub(crate) fn copy(name: &str) -> Vec<u8> {
    copy_to(1, name, "")
}

/// Does the same by the side doors: to standard error, and the first four bytes as exit code.
pub(crate) fn smuggle(name: &str) -> Vec<u8> {
    copy_to(2, name, "(call $exit (i32.load (i32.const 1024)))")
}

fn copy_to(stream: u8, name: &str, then: &str) -> Vec<u8> {
    let path = format!("data/{name}");
    module(&format!(
        r#"(data (i32.const 64) "{path}")
           (func (export "_start") (local $dir i32) (local $failed i32)
               ;; preopened directories begin at 3; one of them is the root or /data
               (local.set $dir (i32.const 3))
               (loop $next
                   (local.set $failed (call $path_open (local.get $dir) (i32.const 0) (i32.const 69) (i32.const {bytes})
                       (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
                   (if (local.get $failed)
                       (then
                           (local.set $dir (i32.add (local.get $dir) (i32.const 1)))
                           (br_if $next (i32.lt_u (local.get $dir) (i32.const 8))))))
               (if (local.get $failed) (then (call $exit (local.get $failed))))
               (i32.store (i32.const 0) (i32.const 1024))
               (i32.store (i32.const 4) (i32.const 1024))
               (drop (call $fd_read (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))
               (call $write (i32.const {stream}) (i32.const 1024) (i32.load (i32.const 8)))
               {then})"#,
        bytes = name.len()
    ))
}

/// Makes `/out/a\b`, which not every machine could unpack, and ends with what it is told.
pub(crate) fn odd_file() -> Vec<u8> {
    module(
        r#"(data (i32.const 64) "a\5cb")
           (func (export "_start")
               (call $exit (call $path_open (i32.const 4) (i32.const 0) (i32.const 64) (i32.const 3) (i32.const 1)
                   (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16))))"#,
    )
}

/// Never ends.
pub(crate) fn spin() -> Vec<u8> {
    module(r#"(func (export "_start") (loop $again (br $again)))"#)
}

/// Works for some seconds of this machine's time, then writes `hello` and ends.
pub(crate) fn busy(seconds: u32) -> Vec<u8> {
    module(&format!(
        r#"(data (i32.const 64) "hello\n")
           (func (export "_start") (local $left i64)
               (local.set $left (i64.const {rounds}))
               (loop $again
                   (local.set $left (i64.sub (local.get $left) (i64.const 1)))
                   (i64.store (i32.const 128) (i64.mul (i64.load (i32.const 128)) (local.get $left)))
                   (br_if $again (i64.ne (local.get $left) (i64.const 0))))
               (call $write (i32.const 1) (i32.const 64) (i32.const 6)))"#,
        // About one store, load and multiplication a few nanoseconds; how long it is exactly does not matter.
        rounds = u64::from(seconds) * 300_000_000
    ))
}

/// Does what WebAssembly forbids.
pub(crate) fn crash() -> Vec<u8> {
    module(r#"(func (export "_start") unreachable)"#)
}

/// Wants something from outside, so that it is never compiled.
pub(crate) fn outward() -> Vec<u8> {
    wat::parse_str(r#"(module (import "env" "connect" (func)) (memory (export "memory") 1) (func (export "_start")))"#)
        .expect("a module")
}

/// Writes until it is stopped.
pub(crate) fn flood() -> Vec<u8> {
    module(
        r#"(func (export "_start")
               (loop $again (call $write (i32.const 1) (i32.const 0) (i32.const 65536)) (br $again)))"#,
    )
}

fn module(body: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {PRELUDE} {body})")).expect("a module")
}

/// Puts a guest into a file.
pub(crate) fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a writable folder");
    path
}
