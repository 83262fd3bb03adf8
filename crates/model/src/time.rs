//! Moments as people read them.

use time::{OffsetDateTime, format_description::StaticFormatDescription, macros::format_description};

const FORM: StaticFormatDescription = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");

/// A moment in UTC, to the second: `2026-11-23 15:04:05 UTC`. The moment is in milliseconds since 1970; after the year 9999 it
/// stays that.
pub fn show_time(time_ms: u64) -> String {
    let seconds = i64::try_from(time_ms / 1_000).ok();
    let moment = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let shown = moment.and_then(|moment| moment.format(FORM).ok());
    shown.unwrap_or_else(|| format!("{time_ms} ms after 1970 began"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_in_utc() {
        let cases = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_893_456_000_999, "2030-01-01 00:00:00 UTC"),
            (253_402_300_799_000, "9999-12-31 23:59:59 UTC"),
            (253_402_300_800_000, "253402300800000 ms after 1970 began"),
            (u64::MAX, "18446744073709551615 ms after 1970 began"),
        ];
        for (time_ms, shown) in cases {
            assert_eq!(show_time(time_ms), shown);
        }
    }
}
