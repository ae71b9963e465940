//! Addresses: province, city and county (district, banner) are kept, all behind them is `****`. What is kept is a name of
//! the official list, those of former divisions included, and stands where such a name belongs; whatever else somebody
//! wrote there, a street or a door, is not on the list. An address that begins with none of them does not parse.
//!
//! `prefix` is how many levels are kept: 1 the province, 2 the city, 3 the county. Municipalities (`北京市`) and counties
//! without a city have no second level, cities like `东莞市` no third.

use super::names::Names;
use super::{FILL, Mask, Spec};
use std::sync::LazyLock;

static PROVINCES: LazyLock<Names> = LazyLock::new(|| Names::of(provinces()));
static CITIES: LazyLock<Names> = LazyLock::new(|| Names::of(lists()[0].split_whitespace()));
static COUNTIES: LazyLock<Names> = LazyLock::new(|| Names::of(lists()[1].split_whitespace()));

/// With the word that may follow the name.
#[rustfmt::skip]
const PROVINCE: [(&str, &str); 35] = [
    ("北京", "市"), ("天津", "市"), ("上海", "市"), ("重庆", "市"), ("河北", "省"),
    ("山西", "省"), ("辽宁", "省"), ("吉林", "省"), ("黑龙江", "省"), ("江苏", "省"),
    ("浙江", "省"), ("安徽", "省"), ("福建", "省"), ("江西", "省"), ("山东", "省"),
    ("河南", "省"), ("湖北", "省"), ("湖南", "省"), ("广东", "省"), ("海南", "省"),
    ("四川", "省"), ("贵州", "省"), ("云南", "省"), ("陕西", "省"), ("甘肃", "省"),
    ("青海", "省"), ("台湾", "省"), ("内蒙古", "自治区"), ("广西", "壮族自治区"), ("西藏", "自治区"),
    ("宁夏", "回族自治区"), ("新疆", "维吾尔自治区"), ("新疆", "生产建设兵团"), ("香港", "特别行政区"),
    ("澳门", "特别行政区"),
];

/// Every way to write one; of an autonomous region also without the people's name.
fn provinces() -> impl Iterator<Item = String> {
    let short = |word: &str| if word.ends_with("自治区") { "自治区" } else { "" };
    PROVINCE.into_iter().flat_map(move |(name, word)| ["", word, short(word)].map(|word| format!("{name}{word}")))
}

pub(super) fn write(out: &mut String, spec: Spec, value: &str) -> Option<()> {
    let levels = match spec.mask {
        Mask::Generalize => 2,
        _ => spec.prefix.unwrap_or(3),
    };
    let start = out.len();
    let mut rest = gap(value);
    rest = rest.strip_prefix("中国").map_or(rest, gap);
    if let Some(length) = province(rest) {
        let name = take(out, &mut rest, length, levels >= 1);
        // 北京市北京市朝阳区
        rest = rest.strip_prefix(name).map_or(rest, gap);
    }
    if let Some(length) = CITIES.at_start(rest).or_else(|| division_of_the_corps(rest)) {
        take(out, &mut rest, length, levels >= 2);
    }
    rest = rest.strip_prefix("市辖区").map_or(rest, gap);
    if let Some(length) = COUNTIES.at_start(rest) {
        take(out, &mut rest, length, levels >= 3);
    }
    if out.len() == start {
        return None;
    }
    out.push_str(FILL);
    Some(())
}

/// Goes on behind a name, which is kept or not.
fn take<'a>(out: &mut String, rest: &mut &'a str, length: usize, kept: bool) -> &'a str {
    let (name, behind) = rest.split_at(length);
    if kept {
        out.push_str(name);
    }
    *rest = gap(behind);
    name
}

/// Behind what people write between the levels.
fn gap(text: &str) -> &str {
    text.trim_start_matches(|character: char| character.is_whitespace() || matches!(character, ',' | '，' | '-' | '/'))
}

/// How many bytes at the beginning are a province, with or without the word for it.
fn province(text: &str) -> Option<usize> {
    let length = PROVINCES.at_start(text)?;
    // 吉林市, 海南藏族自治州
    let city = !text[..length].ends_with(['市', '省', '区']) && CITIES.at_start(text).is_some();
    (!city).then_some(length)
}

/// `第八师`: the corps in Xinjiang has divisions in the place of cities.
fn division_of_the_corps(text: &str) -> Option<usize> {
    let number = text.strip_prefix('第')?;
    let length = number.find(|character: char| !"一二三四五六七八九十0123456789".contains(character))?;
    let whole = '第'.len_utf8() + length + '师'.len_utf8();
    (length > 0 && length <= 3 * '十'.len_utf8() && number[length..].starts_with('师')).then_some(whole)
}

/// GB/T 2260 of the years 2002 to 2013 and the divisions of 2026, names with blanks between them: cities, prefectures,
/// leagues; districts, counties, banners, cities of a county's rank, and the zones that stand for one.
pub fn lists() -> [&'static str; 2] {
    [include_str!("division/city.txt"), include_str!("division/county.txt")]
}
