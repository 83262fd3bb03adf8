//! Moments as people read them.

/// A moment in UTC, to the second: `2026-11-23 15:04:05 UTC`. The moment is in milliseconds since 1970.
pub fn show_time(time_ms: u64) -> String {
    let (seconds, (year, month, day)) = (time_ms / 1_000 % 86_400, date(time_ms / 86_400_000));
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of the Gregorian calendar, so many days after the first of January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // Years begin with March here, so that a leap day is the last of its year; the first began 719,468 days before 1970.
    // The calendar repeats every 400 years, which have 146,097 days.
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let leap_days = day_of_cycle / 1_460 + day_of_cycle / 146_096 - day_of_cycle / 36_524;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // From March on, every five months have 153 days.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) = if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (400 * cycle + year_of_cycle + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_in_utc() {
        let cases = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399_999, "2000-02-28 23:59:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (951_868_800_000, "2000-03-01 00:00:00 UTC"),
            (1_577_836_800_000, "2020-01-01 00:00:00 UTC"),
            (1_893_456_000_999, "2030-01-01 00:00:00 UTC"),
            (4_107_542_399_000, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
            (253_402_300_799_000, "9999-12-31 23:59:59 UTC"),
        ];
        for (time_ms, shown) in cases {
            assert_eq!(show_time(time_ms), shown);
        }
        assert!(show_time(u64::MAX).starts_with("584556019-"), "{}", show_time(u64::MAX));
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let mut last = date(0);
        for days in 1..200_000 {
            let (year, month, day) = date(days);
            let next = match last {
                (y, 12, 31) => (y + 1, 1, 1),
                (y, m, d) if d == days_of(y, m) => (y, m + 1, 1),
                (y, m, d) => (y, m, d + 1),
            };
            assert_eq!((year, month, day), next);
            last = next;
        }
    }

    fn days_of(year: u64, month: u64) -> u64 {
        match month {
            2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}
