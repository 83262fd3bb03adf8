//! What a person sees: help, wrong usage, refusals. `TRYCMD=overwrite cargo test` writes what is seen now.

#[test]
fn transcripts() {
    trycmd::TestCases::new().env("NO_COLOR", "1").env("SAMOVAR_STATE", "state").case("tests/cmd/*.trycmd");
}
