//! Whom to reach about a child, as people write it in one field: `父亲：张三 13800000007；母亲李四，0512-65123456`. What is
//! a telephone or an identity number is masked as such, a name as a name; words for the relation and for what follows are
//! kept, signs between them too. Everything else becomes `***`, and a text with other signs in it does so as a whole.

use super::names::Names;
use super::text::{half_width, is_letter};
use super::{Class, HIDDEN, Mask, Spec, id_card, name, phone};
use std::sync::LazyLock;

static HAN: LazyLock<Names> = LazyLock::new(|| Names::of(WORDS));

/// Words that are kept; what a person is to the child, and what stands in front of a number.
#[rustfmt::skip]
const WORDS: [&str; 49] = [
    "父亲", "母亲", "爸爸", "妈妈", "父", "母", "爸", "妈", "祖父", "祖母", "外祖父", "外祖母",
    "爷爷", "奶奶", "外公", "外婆", "姥姥", "姥爷", "伯父", "伯母", "叔叔", "婶婶", "姑姑", "姑父",
    "舅舅", "舅妈", "姨妈", "姨父", "阿姨", "哥哥", "姐姐", "兄", "姐", "监护人", "家长", "学生",
    "联系人", "联系电话", "联系方式", "家庭电话", "手机号", "手机", "电话", "固话", "身份证号", "身份证",
    "姓名", "关系", "其他",
];
/// The same in Latin letters, whatever their case.
const LATIN: [&str; 7] = ["tel", "phone", "mobile", "father", "mother", "guardian", "name"];
/// A longer word of Han characters is no name.
const LONGEST_NAME: usize = 4;

pub(super) fn write(out: &mut String, spec: Spec, value: &str) -> Option<()> {
    if spec.mask != Mask::Partial {
        return None;
    }
    let mut rest = value.trim();
    let mut spoken = false;
    while let Some(first) = rest.chars().next() {
        let behind = match half_width(first) {
            '0'..='9' | '+' => {
                let (part, behind) = rest.split_at(number_length(rest));
                number(out, part);
                behind
            }
            _ if is_letter(first) => {
                let (part, behind) = rest.split_at(word_length(rest));
                word(out, part);
                behind
            }
            sign if is_sign(sign) => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
            _ => return None,
        };
        spoken = true;
        rest = behind;
    }
    spoken.then_some(())
}

/// A key of JSON: a word that is kept, or what it would become in a text.
pub(super) fn key(name: &str) -> String {
    let mut shown = String::new();
    let spec = Spec { class: Class::Guardian, mask: Mask::Partial, prefix: None, suffix: None };
    match name.len() <= super::LONGEST && write(&mut shown, spec, name).is_some() {
        true => shown,
        false => HIDDEN.to_owned(),
    }
}

/// Words that are kept, then a name.
fn word(out: &mut String, part: &str) {
    let mut rest = part;
    while let Some(length) = known(rest) {
        out.push_str(&rest[..length]);
        rest = &rest[length..];
        if rest.is_empty() {
            return;
        }
    }
    let one_name = rest.chars().nth(LONGEST_NAME).is_none() || rest.is_ascii() || rest.contains('·');
    let spec = Spec { class: Class::Name, mask: Mask::Partial, prefix: None, suffix: None };
    if !one_name || name::write(out, spec, rest).is_none() {
        out.push_str(HIDDEN);
    }
}

/// How many bytes at the beginning are a word that is kept. `母` begins other words too, which is nobody's secret; Latin
/// ones must be whole.
fn known(text: &str) -> Option<usize> {
    match text.is_ascii() {
        true => LATIN.iter().any(|word| text.eq_ignore_ascii_case(word)).then_some(text.len()),
        false => HAN.at_start(text),
    }
}

/// One number, or several with blanks between them.
fn number(out: &mut String, part: &str) {
    let spec = |class| Spec { class, mask: Mask::Partial, prefix: None, suffix: None };
    let start = out.len();
    if id_card::write(out, spec(Class::IdCard), part).is_none() {
        out.truncate(start);
        if phone::write(out, spec(Class::Phone), part).is_none() {
            out.truncate(start);
            out.push_str(HIDDEN);
        }
    }
}

/// Digits and what may stand inside of a number; an x at the end of an identity number.
fn number_length(text: &str) -> usize {
    let inside = |character: char| matches!(half_width(character), '0'..='9' | '+' | '-' | '.' | ' ' | 'x' | 'X');
    // Most are nothing but digits.
    let plain = text.bytes().take_while(u8::is_ascii_digit).count();
    if plain > 0 && text.as_bytes().get(plain).is_none_or(|next| next.is_ascii() && !inside(char::from(*next))) {
        return plain;
    }
    let whole = &text[..text[plain..].find(|other| !inside(other)).map_or(text.len(), |length| plain + length)];
    whole.trim_end_matches(|other| matches!(half_width(other), ' ' | '.' | '-')).len().max(1)
}

/// Of letters and what may stand inside of a name.
fn word_length(text: &str) -> usize {
    let han = |bytes: &[u8]| matches!(bytes, [0xe4, 0xb8..=0xbf, _, ..] | [0xe5..=0xe9, _, _, ..]);
    let mut length = 0;
    loop {
        // Most are nothing but Han characters.
        while han(&text.as_bytes()[length..]) {
            length += 3;
        }
        match text[length..].chars().next() {
            Some(character) if in_word(character) => length += character.len_utf8(),
            _ => return length,
        }
    }
}

fn in_word(character: char) -> bool {
    is_letter(character) || matches!(character, '·' | '•' | '・' | '\'' | '’')
}

fn is_sign(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            ',' | ';' | ':' | '/' | '|' | '(' | ')' | '[' | ']' | '-' | '_' | '.' | '、' | '。' | '—'
        )
}
