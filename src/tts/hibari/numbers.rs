//! Numbers in English words.
//!
//! In: integers or strings of digits. Out: lower-case words with single spaces, no hyphens and no
//! "and", as Americans read them and as the lexicon holds them. Pure.

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

const SCALES: [&str; 6] = ["", "thousand", "million", "billion", "trillion", "quadrillion"];

/// Digits up to which a number is read as one; longer ones are read digit by digit.
const MOST_DIGITS: usize = 15;

/// 1234 → "one thousand two hundred thirty four".
pub(super) fn cardinal(n: u64) -> String {
    if n == 0 {
        return ONES[0].into();
    }
    let mut groups = Vec::new();
    let mut left = n;
    for scale in SCALES {
        let group = left % 1_000;
        if group > 0 {
            groups.push(if scale.is_empty() { below_1000(group) } else { format!("{} {scale}", below_1000(group)) });
        }
        left /= 1_000;
    }
    groups.reverse();
    groups.join(" ")
}

/// 23 → "twenty third".
pub(super) fn ordinal(n: u64) -> String {
    let cardinal = cardinal(n);
    let (head, last) = cardinal.rsplit_once(' ').map_or(("", cardinal.as_str()), |(head, last)| (head, last));
    let last = match last {
        "one" => "first".into(),
        "two" => "second".into(),
        "three" => "third".into(),
        "five" => "fifth".into(),
        "eight" => "eighth".into(),
        "nine" => "ninth".into(),
        "twelve" => "twelfth".into(),
        _ => last.strip_suffix('y').map_or_else(|| format!("{last}th"), |stem| format!("{stem}ieth")),
    };
    if head.is_empty() { last } else { format!("{head} {last}") }
}

/// A year, or any four digits that stand alone: 1905 → "nineteen oh five", 2001 → "two thousand one".
pub(super) fn year(n: u64) -> String {
    let (high, low) = (n / 100, n % 100);
    match low {
        _ if high == 0 || high >= 100 || (high.is_multiple_of(10) && low < 10) => cardinal(n),
        0 => format!("{} hundred", cardinal(high)),
        1..10 => format!("{} oh {}", cardinal(high), cardinal(low)),
        _ => format!("{} {}", cardinal(high), cardinal(low)),
    }
}

/// "0199" → "zero one nine nine"; whatever is no digit is passed over.
pub(super) fn digits(s: &str) -> String {
    let words: Vec<&str> = s.chars().filter_map(|c| c.to_digit(10)).map(|d| ONES[d as usize]).collect();
    words.join(" ")
}

/// A whole number as written without grouping: leading zeros and very long ones digit by digit.
pub(super) fn whole(s: &str) -> String {
    match s.parse() {
        Ok(n) if s.len() <= MOST_DIGITS && (s.len() == 1 || !s.starts_with('0')) => cardinal(n),
        _ => digits(s),
    }
}

/// The number in a name such as H.264 or A380: three digits as one and two, four as a year.
pub(super) fn label(s: &str) -> String {
    match (s.len(), s.parse::<u64>()) {
        (3, Ok(n)) if n >= 100 && n % 100 != 0 => year(n),
        (4, Ok(n)) if n >= 1_000 => year(n),
        _ => whole(s),
    }
}

fn below_1000(n: u64) -> String {
    let mut words = Vec::with_capacity(4);
    if n >= 100 {
        words.extend([ONES[(n / 100) as usize], "hundred"]);
    }
    let n = (n % 100) as usize;
    if n >= 20 {
        words.push(TENS[n / 10]);
        if !n.is_multiple_of(10) {
            words.push(ONES[n % 10]);
        }
    } else if n > 0 {
        words.push(ONES[n]);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cardinals_are_read_as_americans_do() {
        assert_eq!(cardinal(0), "zero");
        assert_eq!(cardinal(115), "one hundred fifteen");
        assert_eq!(cardinal(1_000_020), "one million twenty");
    }

    #[test]
    fn ordinals_bend_the_last_word_only() {
        assert_eq!(ordinal(1), "first");
        assert_eq!(ordinal(20), "twentieth");
        assert_eq!(ordinal(1_112), "one thousand one hundred twelfth");
    }

    #[test]
    fn four_digits_are_read_as_a_year() {
        assert_eq!(year(1905), "nineteen oh five");
        assert_eq!(year(2001), "two thousand one");
        assert_eq!(year(2010), "twenty ten");
        assert_eq!(year(1800), "eighteen hundred");
        assert_eq!(year(8010), "eighty ten");
    }

    #[test]
    fn leading_zeros_and_endless_numbers_are_read_digit_by_digit() {
        assert_eq!(whole("007"), "zero zero seven");
        assert_eq!(whole("1234567890123456"), digits("1234567890123456"));
    }

    #[test]
    fn names_pair_their_digits() {
        assert_eq!(label("264"), "two sixty four");
        assert_eq!(label("404"), "four oh four");
        assert_eq!(label("300"), "three hundred");
        assert_eq!(label("12"), "twelve");
    }
}
