//! Modules that are refused before any worker sees them.

use sandbox::{CompileError, Metering, Sandbox, SandboxConfig};

use crate::support::{config, guest, sandbox, wat};

fn refusal(module: &[u8]) -> CompileError {
    let error = sandbox().compile(module, Metering::None, None).expect_err("the module is refused");
    assert!(error.guest_at_fault(), "{error}");
    error
}

fn assert_invalid(text: &str, because: &str) {
    match refusal(&wat(text)) {
        CompileError::Invalid(why) => assert!(why.contains(because), "{why}"),
        other => panic!("{other}"),
    }
}

#[test]
fn bytes_that_are_no_module() {
    for bytes in [&b""[..], b"\0", b"MZ", b"\0asm\x01\0\0\0\xff", b"\0asm\x0d\0\x01\0\xff", &[0xff; 4096]] {
        assert!(matches!(refusal(bytes), CompileError::Invalid(_)));
    }
}

#[test]
fn text_is_not_a_module() {
    assert!(matches!(refusal(b"(module)"), CompileError::Invalid(_)));
}

#[test]
fn native_code_of_this_very_engine_is_not_a_module() {
    assert!(matches!(refusal(b"\x7fELF\x02\x01\x01\xc8\0\0\0\0\0\0\0\0"), CompileError::Invalid(_)));
}

#[test]
fn an_unknown_import_is_named() {
    let module = wat("(module (import \"env\" \"system\" (func (param i32)))
        (memory (export \"memory\") 1) (func (export \"_start\")))");
    match refusal(&module) {
        CompileError::UnknownImport(name) => assert_eq!(name, "env::system"),
        other => panic!("{other}"),
    }
    assert!(refusal(&module).to_string().contains("env::system"));
}

#[test]
fn a_component_s_unknown_import_is_named() {
    let component = wat("(component (import \"wasi:http/types@0.2.0\" (instance)))");
    match refusal(&component) {
        CompileError::UnknownImport(name) => assert_eq!(name, "wasi:http/types@0.2.0"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_library_is_no_program() {
    assert!(matches!(refusal(&wat("(module)")), CompileError::NotACommand(_)));
    assert!(matches!(refusal(&wat("(module (func (export \"_start\") (param i32)))")), CompileError::NotACommand(_)));
    assert!(matches!(refusal(&wat("(component)")), CompileError::NotACommand(_)));
}

#[test]
fn threads_are_refused() {
    assert_invalid("(module (memory 1 1 shared) (func (export \"_start\")))", "threads");
    assert_invalid("(module (import \"env\" \"memory\" (memory 1 1 shared)) (func (export \"_start\")))", "threads");
}

#[test]
fn memories_beyond_four_gigabytes_are_refused() {
    assert_invalid("(module (memory i64 1) (func (export \"_start\")))", "memory64");
}

#[test]
fn a_module_larger_than_allowed_is_not_even_looked_at() {
    let small = Sandbox::new(SandboxConfig { module_bytes_max: 10, ..config() }).expect("the sandbox starts");
    let error = small.compile(&guest(""), Metering::None, None).expect_err("too large");
    assert!(matches!(error, CompileError::TooLarge { bytes_max: 10, .. }), "{error}");
}

#[test]
fn a_module_that_compiles_for_ever_is_given_up() {
    let hasty = Sandbox::new(SandboxConfig { compile_ms_max: 1, ..config() }).expect("the sandbox starts");
    // A thousand functions of a thousand instructions take longer than a millisecond on any machine.
    let add = "(i32.add (i32.const 1)) ".repeat(1000);
    let function =
        format!("(func (result i32) i32.const 0 {})", add.replace("(i32.add (i32.const 1))", "i32.const 1 i32.add"));
    let module = wat(&format!("(module (func (export \"_start\")) {})", function.repeat(1000)));
    let error = hasty.compile(&module, Metering::None, None).expect_err("too slow");
    assert!(matches!(error, CompileError::TooSlow(1)), "{error}");
}
