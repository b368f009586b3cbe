//! Until when a certificate is valid: the one thing of it that operators must not forget. Pure.
//!
//! Reads as much of the encoding (DER) as stands before that, and trusts none of it.

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Seconds since 1970; none if that cannot be read.
pub fn ends_at_unix_secs(certificate: &[u8]) -> Option<u64> {
    let (_, content, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut rest, _) = element(content).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = after(rest)?;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = after(rest)?;
    }
    let (_, times, _) = element(rest).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (tag, text, _) = element(after(times)?)?;
    unix_secs(tag, text)
}

/// Tag and content of the first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(first) {
        short @ 0..=0x7f => (short, rest),
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(long - 0x80)?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn after(bytes: &[u8]) -> Option<&[u8]> {
    element(bytes).map(|(_, _, rest)| rest)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn unix_secs(tag: u8, text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let days = days_since_1970(year, two(0)?, two(2)?);
    u64::try_from(((days * 24 + two(4)?) * 60 + two(6)?) * 60 + two(8)?).ok()
}

/// By the calendar of today; years begin in March, so that the leap day is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("names");
        params.not_before = date_time_ymd(1999, 1, 1);
        params.not_after = date_time_ymd(year, month, day);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn the_end_is_read() {
        for ((year, month, day), secs) in
            [((2001, 1, 1), 978_307_200), ((2024, 2, 29), 1_709_164_800), ((2999, 12, 31), 32_503_593_600)]
        {
            assert_eq!(ends_at_unix_secs(&certificate(year, month, day)), Some(secs), "{year}-{month}-{day}");
        }
        assert_eq!(unix_secs(UTC_TIME, b"700101000102Z"), Some(62));
    }

    #[test]
    fn what_is_cut_or_changed_breaks_nothing() {
        let whole = certificate(2030, 6, 1);
        for end in 0..whole.len() {
            let _any = ends_at_unix_secs(&whole[..end]);
        }
        for at in 0..whole.len().min(300) {
            let mut changed = whole.clone();
            for byte in [0x00, 0x7f, 0x80, 0x84, 0xff] {
                changed[at] = byte;
                let _any = ends_at_unix_secs(&changed);
            }
        }
    }
}
