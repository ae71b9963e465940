//! Names of persons. The surname is kept and the rest becomes `**`, however long it is; of a name without a surname in
//! front (`阿卜杜拉·买买提`, Latin letters) its first character. What is no name at all does not parse.

use super::names::Names;
use super::text::{byte_at, is_letter};
use super::{Mask, Spec};
use std::sync::LazyLock;

/// Hides how long the given name is.
const REST: &str = "**";
/// Longer is no name.
const LONGEST: usize = 64;

pub(super) fn write(out: &mut String, spec: Spec, value: &str) -> Option<()> {
    let name = value.trim();
    let mut length = 0;
    for character in name.chars() {
        let belongs = is_letter(character) || length > 0 && is_inside(character);
        if !belongs || length == LONGEST {
            return None;
        }
        length += 1;
    }
    // One character would be shown whole.
    if length < 2 || spec.mask != Mask::Partial {
        return None;
    }
    let (prefix, suffix) = spec.ends_or(surname(name, length), 0);
    let most = length - (length / 2).max(1);
    let prefix = prefix.min(most);
    let suffix = suffix.min(most - prefix);
    out.push_str(&name[..byte_at(name, prefix)]);
    out.push_str(REST);
    if suffix > 0 {
        out.push_str(&name[byte_at(name, length - suffix)..]);
    }
    Some(())
}

fn is_inside(character: char) -> bool {
    matches!(character, ' ' | '\u{3000}' | '·' | '•' | '・' | '‧' | '.' | '\'' | '’' | '-')
}

/// How many characters the surname has.
fn surname(name: &str, length: usize) -> usize {
    if length > 2 && COMPOUND.contains(&name[..byte_at(name, 2)]) { 2 } else { 1 }
}

static COMPOUND: LazyLock<Names> = LazyLock::new(|| Names::of(SURNAMES));

/// Surnames of two characters.
#[rustfmt::skip]
const SURNAMES: [&str; 79] = [
    "万俟", "上官", "东方", "东郭", "东门", "乐正", "亓官", "令狐", "仲孙", "佟佳", "公仪",
    "公冶", "公孙", "公户", "公羊", "公良", "公西", "单于", "南宫", "南荣", "南门", "叶赫",
    "司寇", "司徒", "司空", "司馬", "司马", "呼延", "壤驷", "夏侯", "太叔", "太史", "夹谷",
    "子车", "宇文", "完颜", "宗政", "宰父", "富察", "尉迟", "尉遲", "左丘", "左人", "巫马",
    "微生", "慕容", "拓跋", "東方", "梁丘", "欧阳", "歐陽", "段干", "漆雕", "澹台", "濮阳",
    "爱新", "独孤", "申屠", "百里", "皇甫", "端木", "第五", "纳兰", "羊舌", "耶律", "西门",
    "諸葛", "诸葛", "谷梁", "赫连", "轩辕", "那拉", "钟离", "钮祜", "长孙", "闻人", "闾丘",
    "颛孙", "鲜于",
];
