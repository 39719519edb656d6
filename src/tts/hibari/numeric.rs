//! Words that hold a number: amounts, money, dates, times, units, ranges.
//!
//! In: a written word among its neighbours. Out: how it is said, if it is such a word. Pure.

use super::numbers::{cardinal, digits, label, ordinal, whole, year};
use super::tables::{MONEY, MONTHS, SCALES, UNITS, find, month};
use super::written::Near;

/// How the word is said if a number, or a neighbour's number, decides it.
pub(super) fn spoken(near: Near<'_>) -> Option<String> {
    let core = near.word().core;
    if core.contains(|c: char| c.is_ascii_digit()) {
        time_spoken(near)
            .or_else(|| date(core))
            .or_else(|| phone(core))
            .or_else(|| product(core))
            .or_else(|| fraction(core))
            .or_else(|| range(core))
            .or_else(|| version(core))
            .or_else(|| amount_spoken(near))
    } else {
        after_number(near)
    }
}

/// Whether `core` is two numbers and a dash.
pub(super) fn is_range(core: &str) -> bool {
    range(core).is_some()
}

/// A number with what is glued to it: `~$1,250.75k`.
struct Amount<'a> {
    sign: Option<&'static str>,
    money: Option<[&'static str; 4]>,
    /// Digits before the point, without grouping.
    whole: String,
    grouped: bool,
    fraction: Option<&'a str>,
    rest: &'a str,
}

impl<'a> Amount<'a> {
    fn parse(core: &'a str) -> Option<Self> {
        let mut rest = core;
        let mut sign = None;
        for (mark, word) in [
            ("-", "minus"),
            ("−", "minus"),
            ("+", "plus"),
            ("±", "plus or minus"),
            ("~", "about"),
            ("≈", "about"),
            ("<", "less than"),
            (">", "more than"),
            ("#", "number"),
            ("№", "number"),
            ("'", ""),
            ("’", ""),
        ] {
            if let Some(after) = rest.strip_prefix(mark) {
                (sign, rest) = (Some(word), after);
                break;
            }
        }
        let mut money = None;
        for &(mark, units) in MONEY {
            if let Some(after) = rest.strip_prefix(mark) {
                (money, rest) = (Some(units), after);
                break;
            }
        }
        let (head, mut rest) = leading_digits(rest);
        let mut whole = head.to_owned();
        let mut grouped = false;
        while !whole.is_empty()
            && let Some(group) = rest.strip_prefix(',').map(leading_digits)
            && group.0.len() == 3
        {
            whole.push_str(group.0);
            rest = group.1;
            grouped = true;
        }
        let mut fraction = None;
        if let Some((part, after)) = rest.strip_prefix('.').map(leading_digits)
            && !part.is_empty()
        {
            (fraction, rest) = (Some(part), after);
        }
        (!whole.is_empty() || fraction.is_some()).then_some(Self { sign, money, whole, grouped, fraction, rest })
    }

    fn is_one(&self) -> bool {
        self.whole == "1" && self.fraction.is_none()
    }

    /// As a plain number; `alone` reads four digits as a year.
    fn number(&self, alone: bool) -> String {
        let mut out = if self.whole.is_empty() {
            String::new()
        } else if alone && self.whole.len() == 4 && !self.grouped && self.fraction.is_none() {
            if self.whole.starts_with('0') { digits(&self.whole) } else { year(self.whole.parse().unwrap_or_default()) }
        } else {
            whole(&self.whole)
        };
        if let Some(fraction) = self.fraction {
            out.push_str(if out.is_empty() { "point " } else { " point " });
            out.push_str(&digits(fraction));
        }
        out
    }

    fn money(&self, [one, many, cent, cents]: [&str; 4]) -> String {
        let small = self.fraction.filter(|f| f.len() <= 2).map(|f| format!("{f:0<2}").parse().unwrap_or(0_u64));
        match small {
            None if self.fraction.is_some() => format!("{} {many}", self.number(false)),
            Some(n) if n > 0 => {
                let small = format!("{} {}", cardinal(n), if n == 1 { cent } else { cents });
                if self.whole.trim_start_matches('0').is_empty() {
                    small
                } else {
                    format!("{} {} and {small}", whole(&self.whole), if self.whole == "1" { one } else { many })
                }
            }
            _ => format!("{} {}", whole(&self.whole), if self.whole == "1" { one } else { many }),
        }
    }
}

fn leading_digits(s: &str) -> (&str, &str) {
    s.split_at(s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len()))
}

fn number_of(s: &str) -> Option<u64> {
    (!s.is_empty() && s.len() <= 15 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse().ok())?
}

fn amount_spoken(near: Near<'_>) -> Option<String> {
    let amount = Amount::parse(near.word().core)?;
    let said = match amount.money {
        Some(units) => money_spoken(&amount, units, near)?,
        None => plain_spoken(&amount, near)?,
    };
    Some(match amount.sign {
        Some("") | None => said,
        Some(sign) => format!("{sign} {said}"),
    })
}

fn money_spoken(amount: &Amount<'_>, units: [&'static str; 4], near: Near<'_>) -> Option<String> {
    if amount.rest.is_empty() {
        // "$5 million": the unit is said after the next word.
        let scale_follows = near.after().is_some_and(is_scale_word);
        return Some(if scale_follows { amount.number(false) } else { amount.money(units) });
    }
    let scale = find(SCALES, amount.rest)?;
    Some(format!("{} {scale} {}", amount.number(false), units[1]))
}

fn plain_spoken(amount: &Amount<'_>, near: Near<'_>) -> Option<String> {
    let value = if amount.fraction.is_none() { number_of(&amount.whole) } else { None };
    let rest = amount.rest;
    if rest.is_empty() {
        let day = value.filter(|d| (1..=31).contains(d) && !near.word().core.contains(','));
        if let Some(day) = day {
            if near.before().is_some_and(|b| month(b).is_some()) {
                return Some(ordinal(day));
            }
            if near.after().is_some_and(|a| month(a).is_some()) {
                let article = if near.before().is_some_and(|b| b.eq_ignore_ascii_case("the")) { "" } else { "the " };
                return Some(format!("{article}{} of", ordinal(day)));
            }
        }
        let counts = near.after().is_some_and(|a| is_scale_word(a) || find(UNITS, a).is_some());
        return Some(amount.number(!counts));
    }
    if let Some(half) = find(&[("½", "one half"), ("¼", "one quarter"), ("¾", "three quarters")], rest) {
        return Some(format!("{} and {half}", amount.number(false)));
    }
    if let ("st" | "nd" | "rd" | "th", Some(n)) = (rest, value) {
        return Some(ordinal(n));
    }
    if matches!(rest, "s" | "'s" | "’s") && amount.fraction.is_none() && (rest != "s" || amount.whole.len() != 1) {
        return Some(plural(&amount.number(true)));
    }
    if let Some((one, many)) = find(UNITS, rest) {
        return Some(format!("{} {}", amount.number(false), if amount.is_one() { one } else { many }));
    }
    if let Some(units) = find(MONEY, rest) {
        return Some(amount.money(units));
    }
    let said = amount.number(false);
    match rest {
        "am" | "AM" | "a.m" => Some(format!("{said} A.M.")),
        "pm" | "PM" | "p.m" => Some(format!("{said} P.M.")),
        "k" => Some(format!("{said} thousand")),
        "bn" => Some(format!("{said} billion")),
        "x" | "×" => Some(format!("{said} times")),
        "+" => Some(format!("{said} plus")),
        _ => None,
    }
}

/// What a word without digits is after a number: a unit, "million dollars", "P.M."
fn after_number(near: Near<'_>) -> Option<String> {
    let core = near.word().core;
    let before = near.before().filter(|b| b.contains(|c: char| c.is_ascii_digit()))?;
    let after_hour = || time(before).is_some() || number_of(before).is_some();
    match core {
        "am" | "AM" | "a.m" | "A.M" if after_hour() => return Some(half_day('A', near)),
        "pm" | "PM" | "p.m" | "P.M" if after_hour() => return Some(half_day('P', near)),
        _ => {}
    }
    let amount = Amount::parse(before).filter(|a| a.rest.is_empty())?;
    if let Some([_, many, ..]) = amount.money {
        return is_scale_word(core).then(|| format!("{core} {many}"));
    }
    let (one, many) = find(UNITS, core)?;
    Some(if amount.is_one() { one } else { many }.into())
}

/// "A.M", its last full stop from the text if there is one.
fn half_day(letter: char, near: Near<'_>) -> String {
    let stop = if near.word().is_dotted() { "" } else { "." };
    format!("{letter}.M{stop}")
}

fn is_scale_word(word: &str) -> bool {
    SCALES.iter().any(|(k, _)| *k == word) && word.len() > 2
}

/// "nineteen ninety" → "nineteen nineties".
fn plural(words: &str) -> String {
    if let Some(stem) = words.strip_suffix('y') {
        format!("{stem}ies")
    } else if words.ends_with(['x', 's']) {
        format!("{words}es")
    } else {
        format!("{words}s")
    }
}

/// A time of day; the hour alone is "o'clock" unless the next word says which half of the day.
fn time_spoken(near: Near<'_>) -> Option<String> {
    let said = time(near.word().core)?;
    let half_follows = near.after().is_some_and(|a| matches!(a, "am" | "AM" | "a.m" | "A.M" | "pm" | "PM" | "p.m" | "P.M"));
    let hour = said.strip_suffix(" o'clock").filter(|_| half_follows || near.after() == Some("o'clock"));
    Some(hour.map_or_else(|| said.clone(), str::to_owned))
}

/// 10:30, 6:00, 1:02:03, 10:30am.
fn time(core: &str) -> Option<String> {
    let digits_end = core.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(core.len());
    let (clock, suffix) = core.split_at(digits_end);
    let half = match suffix {
        "" => None,
        "am" | "AM" | "a.m" => Some(" A.M."),
        "pm" | "PM" | "p.m" => Some(" P.M."),
        _ => return None,
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let [hour, minute, ..] = parts[..] else { return None };
    let valid = parts.len() <= 3 && hour.len() <= 2 && parts[1..].iter().all(|p| p.len() == 2);
    let (hour, minute) = (number_of(hour)?, number_of(minute)?);
    let second = parts.get(2).map(|s| number_of(s));
    if !valid || hour > 24 || minute > 59 || second.flatten().is_some_and(|s| s > 59) {
        return None;
    }
    let mut said = cardinal(hour);
    match minute {
        0 if half.is_none() && second.is_none() => said.push_str(" o'clock"),
        0 => {}
        1..10 => said = format!("{said} oh {}", cardinal(minute)),
        _ => said = format!("{said} {}", cardinal(minute)),
    }
    if let Some(second) = second.flatten() {
        said = format!("{said} and {} second{}", cardinal(second), if second == 1 { "" } else { "s" });
    }
    Some(said + half.unwrap_or_default())
}

/// 2024-03-15 and 12/25/2023 (or 25/12/2023).
fn date(core: &str) -> Option<String> {
    let iso: Vec<&str> = core.split('-').collect();
    let us: Vec<&str> = core.split('/').collect();
    let (y, m, d) = match (&iso[..], &us[..]) {
        (&[y, m, d], _) if y.len() == 4 && m.len() == 2 && d.len() == 2 => (y, m, d),
        (_, &[m, d, y]) if y.len() == 4 && m.len() <= 2 && d.len() <= 2 => {
            if number_of(m)? > 12 {
                (y, d, m)
            } else {
                (y, m, d)
            }
        }
        _ => return None,
    };
    let (y, m, d) = (number_of(y)?, number_of(m)?, number_of(d)?);
    let month = MONTHS.get((m as usize).checked_sub(1)?)?;
    (1..=31).contains(&d).then(|| format!("{month} {}, {}", ordinal(d), year(y)))
}

/// 555-1234, 415-555-0199, +1-415-555-0199.
fn phone(core: &str) -> Option<String> {
    let number = core.strip_prefix('+').unwrap_or(core);
    let parts: Vec<&str> = number.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|p| p.len()).collect();
    let is_phone =
        parts.iter().all(|p| number_of(p).is_some()) && matches!(lengths[..], [3, 4] | [3, 3 | 4, 4] | [1 | 2, 3, 3, 4]);
    let plus = if number.len() < core.len() { "plus " } else { "" };
    is_phone.then(|| plus.to_owned() + &parts.iter().map(|p| digits(p)).collect::<Vec<_>>().join(", "))
}

/// 512x512, 3×4.
fn product(core: &str) -> Option<String> {
    let parts: Vec<&str> = core.split(['x', '×']).collect();
    let numbers: Vec<String> = parts.iter().map(|p| number_of(p).map(|_| whole(p))).collect::<Option<_>>()?;
    (numbers.len() >= 2).then(|| numbers.join(" by "))
}

/// 1/2, 3/4, 7/10, 24/7.
fn fraction(core: &str) -> Option<String> {
    let (a, b) = core.split_once('/')?;
    let (a, b) = (number_of(a)?, number_of(b)?);
    let part = match b {
        10 | 100 if a >= 3 => return Some(format!("{} out of {}", cardinal(a), cardinal(b))),
        _ if a == 0 || a >= b || b > 10 => return Some(format!("{} {}", cardinal(a), cardinal(b))),
        2 => "half".to_owned(),
        4 => "quarter".to_owned(),
        _ => ordinal(b),
    };
    Some(format!("{} {part}{}", cardinal(a), if a == 1 { "" } else { "s" }))
}

/// 10-15, 1999–2005, 3-2, 16:9.
fn range(core: &str) -> Option<String> {
    let (a, b) = core.split_once(['-', '–', ':'])?;
    let tail = b.strip_suffix('%').map_or("", |_| " percent");
    let b = b.trim_end_matches('%');
    let short = |s: &str| number_of(s).is_some() && s.len() <= 4;
    let read = |s: &str| if s.len() == 4 && !s.starts_with('0') { label(s) } else { whole(s) };
    (short(a) && short(b)).then(|| format!("{} to {}{tail}", read(a), read(b)))
}

/// v2.0.1, 1.2.3, v3; four parts are an address.
fn version(core: &str) -> Option<String> {
    let number = core.strip_prefix(['v', 'V']);
    let parts: Vec<&str> = number.unwrap_or(core).split('.').collect();
    let said: Vec<String> = parts.iter().map(|p| number_of(p).map(|_| whole(p))).collect::<Option<_>>()?;
    if number.is_none() && parts.len() < 3 {
        return None;
    }
    let said = said.join(if parts.len() == 4 { " dot " } else { " point " });
    Some(if number.is_some() { format!("version {said}") } else { said })
}
