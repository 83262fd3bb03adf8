//! The description file: what an owner tells everybody about an object.

use std::path::Path;

use model::{Canonical as _, Description};

use crate::file::{FileError, read_toml};

/// Most bytes of a description.
const BYTES_MAX: usize = 16 << 10;

/// Reads a description file: `title`, `text`, `rows`, `licence` and `[[columns]]` with `name`, `unit`, `about`.
///
/// # Errors
/// [`FileError`] with the line that is wrong, or if the description is longer than 16 KiB.
pub fn read_description(path: &Path) -> Result<Description, FileError> {
    check(path, read_toml::<Description>(path)?.value)
}

fn check(path: &Path, description: Description) -> Result<Description, FileError> {
    let bytes = description.to_bytes().len();
    if bytes > BYTES_MAX {
        let (bytes, bytes_max) = (bytes as u64, BYTES_MAX as u64);
        return Err(FileError::TooLong { path: path.to_owned(), what: "a description", bytes, bytes_max });
    }
    if description.title.lines().count() > 1 {
        return Err(FileError::whole(path, "the title is more than one line"));
    }
    Ok(description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::parse_toml;

    fn parse(text: &str) -> Result<Description, String> {
        let path = Path::new("describe.toml");
        parse_toml::<Description>(path, text.to_owned())
            .and_then(|parsed| check(path, parsed.value))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_tables() {
        let description = parse("title = \"T\"\n[[columns]]\nname = \"radius\"\nunit = \"µm\"\n").unwrap();
        assert_eq!(description.columns[0].name, "radius");
        assert_eq!(description.columns[0].about, "");
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        assert!(parse("titel = \"T\"\n").unwrap_err().starts_with("describe.toml, line 1: unknown field `titel`"));
    }

    #[test]
    fn a_novel_is_refused() {
        let text = format!("text = \"{}\"\n", "x".repeat(BYTES_MAX));
        assert!(parse(&text).unwrap_err().contains("at most 16384 are allowed"));
    }
}
