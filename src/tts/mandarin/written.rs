//! What is written but not said as it is written: numbers, dates, amounts, units.
//!
//! In: a clause. Out: its pieces, each with what is said for it in Chinese characters. Pure.

use std::sync::LazyLock;

use chinese_number::{ChineseCase, ChineseVariant, from_u64_to_chinese_ten_thousand};
use regex::{Captures, Regex};

/// A stretch of a clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// As written; the pieces join to the clause.
    pub text: String,
    /// What is said for it.
    pub spoken: String,
    /// It is a number: its words are one, and 一 in it keeps its tone unless it counts.
    pub number: bool,
}

/// A decimal number: digits, perhaps grouped by commas, perhaps a fraction.
const NUMBER: &str = r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?";

/// What is said for a match; `None` if it is none after all.
type Say = fn(&Captures<'_>) -> Option<String>;

/// Units by their signs, the longest first where one begins another.
#[rustfmt::skip]
const UNITS: &[(&str, &str)] = &[
    ("km/h", "公里每小时"), ("m/s", "米每秒"), ("kWh", "千瓦时"), ("mAh", "毫安时"), ("km²", "平方公里"), ("km", "公里"),
    ("kg", "公斤"), ("kW", "千瓦"), ("cm", "厘米"), ("mm", "毫米"), ("m²", "平方米"), ("㎡", "平方米"), ("m³", "立方米"),
    ("mg", "毫克"), ("ml", "毫升"), ("mL", "毫升"), ("ms", "毫秒"), ("min", "分钟"), ("GHz", "吉赫"), ("MHz", "兆赫"),
    ("kHz", "千赫"), ("Hz", "赫兹"), ("fps", "帧每秒"), ("℃", "摄氏度"), ("°C", "摄氏度"), ("°", "度"), ("m", "米"),
    ("g", "克"), ("L", "升"), ("s", "秒"), ("h", "小时"), ("W", "瓦"), ("V", "伏"), ("元", "元"),
];

/// Money by its sign.
const MONEY: &[(&str, &str)] = &[("¥", "元"), ("￥", "元"), ("$", "美元"), ("€", "欧元"), ("£", "英镑")];

/// Arithmetic between two numbers.
const SIGNS: &[(char, &str)] = &[('+', "加"), ('=', "等于"), ('×', "乘以"), ('÷', "除以")];

/// Before these a lone 2 is 两.
const MEASURES: &str = "个天本次位年点分小米只条张件块元家人名台种份岁层间句杯碗瓶公斤厘毫升倍遍周万千亿页篇首";

/// What is tried where a number may begin, in this order.
static RULES: LazyLock<Vec<(Regex, Say)>> = LazyLock::new(|| {
    let rule = |pattern: &str, say: Say| {
        let pattern = pattern.replace("NUM", &format!("(?:{NUMBER})"));
        (Regex::new(&format!("^(?:{pattern})")).expect("the pattern is a constant"), say)
    };
    vec![
        rule(r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})日?", date),
        rule(r"([0-9]{4})([-~～—–至到])([0-9]{4})年", |m| Some(format!("{}到{}年", digits(&m[1]), digits(&m[3])))),
        rule(r"([0-9]{4})年", |m| Some(format!("{}年", digits(&m[1])))),
        rule(r"([0-9]{1,2})[:：]([0-5][0-9])(?:[:：]([0-5][0-9]))?", time),
        rule(r"(?:\+?86[- ]?)?(1[3-9][0-9])[- ]?([0-9]{4})[- ]?([0-9]{4})", |m| Some(dialled(&m[0]))),
        rule(r"0[0-9]{2,3}-[0-9]{7,8}|[48]00-?[0-9]{3}-?[0-9]{4}", |m| Some(dialled(&m[0]))),
        rule(r"[0-9]+(?:\.[0-9]+){2,}", |m| Some(m[0].split('.').map(digits).collect::<Vec<_>>().join("点"))),
        rule(r"[0-9]{9,}", |m| Some(dialled(&m[0]))),
        rule(r"0[0-9]+", |m| Some(digits(&m[0]))),
        rule(r"(NUM)[%％]?[-~～—–](NUM)[%％]", |m| {
            Some(format!("百分之{}到百分之{}", number(&m[1])?, number(&m[2])?))
        }),
        rule(r"([-−]?)(NUM)[%％]", |m| Some(format!("{}百分之{}", minus(&m[1]), number(&m[2])?))),
        rule(r"([-−]?)(NUM)‰", |m| Some(format!("{}千分之{}", minus(&m[1]), number(&m[2])?))),
        rule(r"([0-9]+)/([0-9]+)", |m| Some(format!("{}分之{}", number(&m[2])?, number(&m[1])?))),
        rule(r"([0-9]+)[:：]([0-9]+)", |m| Some(format!("{}比{}", number(&m[1])?, number(&m[2])?))),
        rule(r"([¥￥$€£])\s?(NUM)([万亿千百]*)", money),
        rule(r"[-−](NUM)(?:℃|°C)", |m| Some(format!("零下{}摄氏度", number(&m[1])?))),
        rule(r"(NUM)[-~～—–](NUM)", |m| Some(format!("{}到{}", number(&m[1])?, number(&m[2])?))),
        rule(r"([-−])(NUM)", |m| Some(format!("负{}", number(&m[2])?))),
        rule("NUM", |m| number(&m[0])),
    ]
});

/// The pieces of `clause`, in order.
pub(super) fn pieces(clause: &str) -> Vec<Piece> {
    let folded: String = clause.chars().map(narrow).collect();
    let mut out: Vec<Piece> = Vec::new();
    // Both have the same characters but for their width, so one walks beside the other.
    let (mut written, mut rest) = (clause.chars(), folded.as_str());
    let mut before = None;
    while let Some(c) = rest.chars().next() {
        let (len, spoken) = match numeric(before, rest) {
            Some(found) => found,
            None => (c.len_utf8(), String::new()),
        };
        let (head, tail) = rest.split_at(len);
        let text: String = written.by_ref().take(head.chars().count()).collect();
        before = head.chars().next_back();
        rest = tail;
        let number = !spoken.is_empty();
        match out.last_mut() {
            Some(last) if !number && !last.number => {
                last.text.push_str(&text);
                last.spoken.push_str(head);
            }
            _ => out.push(Piece { text, spoken: if number { spoken } else { head.into() }, number }),
        }
    }
    out
}

/// Full-width letters, digits and signs of ASCII as ASCII; the marks of Chinese stay.
fn narrow(c: char) -> char {
    match c {
        '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ' | '％' | '＄' | '－' | '＋' | '／' | '．' => {
            char::from_u32(c as u32 - 0xfee0).unwrap_or(c)
        }
        other => other,
    }
}

/// The number that `rest` begins with: its length in bytes, and what is said.
fn numeric(before: Option<char>, rest: &str) -> Option<(usize, String)> {
    let first = rest.chars().next()?;
    if let Some((_, name)) = SIGNS.iter().find(|(sign, _)| *sign == first)
        && before.is_some_and(|b| b.is_ascii_digit())
        && rest[first.len_utf8()..].starts_with(|c: char| c.is_ascii_digit())
    {
        return Some((first.len_utf8(), (*name).into()));
    }
    let signed = matches!(first, '-' | '−' | '+') && !before.is_some_and(char::is_alphanumeric);
    let begins = first.is_ascii_digit() || MONEY.iter().any(|(sign, _)| rest.starts_with(sign)) || signed;
    // The digits of "GPT4" and "H264" are part of a name.
    if !begins || before.is_some_and(|b| b.is_ascii_alphanumeric() || b == '.') {
        return None;
    }
    let (found, mut spoken) = RULES.iter().find_map(|(pattern, say)| {
        let m = pattern.captures(rest)?;
        Some((m.get(0)?.end(), say(&m)?))
    })?;
    let tail = &rest[found..];
    let unit = UNITS.iter().find(|(sign, _)| {
        tail.trim_start_matches(' ').strip_prefix(sign).is_some_and(|after| {
            !sign.ends_with(|c: char| c.is_ascii_alphabetic()) || !after.starts_with(|c: char| c.is_ascii_alphanumeric())
        })
    });
    if spoken == "二"
        && before != Some('第')
        && (unit.is_some_and(|(_, name)| name.starts_with(|c| MEASURES.contains(c)))
            || tail.starts_with(|c| MEASURES.contains(c)))
    {
        spoken = "两".into();
    }
    let Some((sign, name)) = unit else { return Some((found, spoken)) };
    let gap = tail.len() - tail.trim_start_matches(' ').len();
    Some((found + gap + sign.len(), spoken + name))
}

fn date(m: &Captures<'_>) -> Option<String> {
    let (month, day): (u32, u32) = (m[2].parse().ok()?, m[3].parse().ok()?);
    ((1..=12).contains(&month) && (1..=31).contains(&day))
        .then(|| Some(format!("{}年{}月{}日", digits(&m[1]), number(&m[2])?, number(&m[3])?)))?
}

fn time(m: &Captures<'_>) -> Option<String> {
    let hour: u32 = m[1].parse().ok().filter(|&hour| hour <= 24)?;
    let part = |text: &str, unit: &str| match text.parse::<u32>().ok()? {
        n if n < 10 => Some(format!("零{}{unit}", number(text)?)),
        _ => Some(format!("{}{unit}", number(text)?)),
    };
    let mut out = if hour == 2 { "两点".into() } else { format!("{}点", number(&m[1])?) };
    let second = m.get(3).map(|s| s.as_str());
    if &m[2] != "00" || second.is_some() {
        out += &part(&m[2], "分")?;
    }
    if let Some(second) = second {
        out += &part(second, "秒")?;
    }
    Some(out)
}

fn money(m: &Captures<'_>) -> Option<String> {
    let (_, name) = MONEY.iter().find(|(sign, _)| *sign == &m[1])?;
    let amount = match number(&m[2])?.as_str() {
        "二" => "两".into(),
        other => other.to_owned(),
    };
    Some(format!("{amount}{}{name}", &m[3]))
}

fn minus(sign: &str) -> &'static str {
    if sign.is_empty() { "" } else { "负" }
}

/// A number as it is counted: `1024` is 一千零二十四, `3.14` 三点一四.
fn number(text: &str) -> Option<String> {
    let plain = text.replace(',', "");
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let value: u64 = whole.parse().ok()?;
    let mut out = from_u64_to_chinese_ten_thousand(ChineseVariant::Simple, ChineseCase::Lower, value);
    for (plain, said) in [("二千", "两千"), ("二万", "两万"), ("二亿", "两亿")] {
        if out.starts_with(plain) {
            out = out.replacen(plain, said, 1);
        }
    }
    if let Some(ten) = out.strip_prefix("一十") {
        out = format!("十{ten}");
    }
    if !fraction.is_empty() {
        out += "点";
        out += &digits(fraction);
    }
    Some(out)
}

/// Digits one by one.
fn digits(text: &str) -> String {
    text.chars().filter_map(|c| "零一二三四五六七八九".chars().nth(c.to_digit(10)? as usize)).collect()
}

/// Digits as they are dialled: 一 could be heard as 七 and is 幺.
fn dialled(text: &str) -> String {
    digits(text).replace('一', "幺")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        pieces(text).into_iter().map(|p| p.spoken).collect()
    }

    #[test]
    fn numbers_are_said_as_people_say_them() {
        for (written, spoken) in [
            ("有0个", "有零个"),
            ("10个人", "十个人"),
            ("12个", "十二个"),
            ("105页", "一百零五页"),
            ("1024", "一千零二十四"),
            ("10,001", "一万零一"),
            ("20000人", "两万人"),
            ("2个苹果", "两个苹果"),
            ("第2名", "第二名"),
            ("3.14", "三点一四"),
            ("0.05", "零点零五"),
            ("-8", "负八"),
            ("增长了12.5%", "增长了百分之十二点五"),
            ("10%-20%", "百分之十到百分之二十"),
            ("3/4", "四分之三"),
            ("3-5天", "三到五天"),
            ("比分3:2", "比分三比二"),
            ("2026年11月21日", "二零二六年十一月二十一日"),
            ("2026-11-21", "二零二六年十一月二十一日"),
            ("2024/2/5", "二零二四年二月五日"),
            ("2020-2024年", "二零二零到二零二四年"),
            ("30年", "三十年"),
            ("12:30", "十二点三十分"),
            ("2:05", "两点零五分"),
            ("8:00开会", "八点开会"),
            ("12:30:15", "十二点三十分十五秒"),
            ("13812345678", "幺三八幺二三四五六七八"),
            ("010-12345678", "零幺零幺二三四五六七八"),
            ("400-123-4567", "四零零幺二三四五六七"),
            ("110101199001011234", "幺幺零幺零幺幺九九零零幺零幺幺二三四"),
            ("007", "零零七"),
            ("¥99.5", "九十九点五元"),
            ("$2", "两美元"),
            ("$3万", "三万美元"),
            ("5km", "五公里"),
            ("2 kg", "两公斤"),
            ("36.5℃", "三十六点五摄氏度"),
            ("-5℃", "零下五摄氏度"),
            ("100m²", "一百平方米"),
            ("60fps", "六十帧每秒"),
            ("版本1.2.3", "版本一点二点三"),
            ("１２３", "一百二十三"),
            ("H264和GPT4", "H264和GPT4"),
            ("2元", "两元"),
            ("1+2=3", "一加二等于三"),
        ] {
            assert_eq!(said(written), spoken, "{written}");
        }
    }

    #[test]
    fn pieces_join_to_what_was_written() {
        for text in ["我有２个，价格是$3.50！", "10-20", "，。", "-", "$", "12:99:1", "a1 b2"] {
            assert_eq!(pieces(text).into_iter().map(|p| p.text).collect::<String>(), text);
        }
    }
}
