//! Continues reading after a wrong value, to report all problems of a file together.
//!
//! A refused value is left out, and the text is read again, with a placeholder where there is no default. A configuration that was
//! read this way is never used.
//!
//! `parse` says what is wrong with a value, `check` whether the values fit together.

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Options that are left out, by their dotted paths.
pub(super) type Out = BTreeSet<String>;

/// What is read in place of an option that has no default.
fn stand_in(option: &str) -> Option<Value> {
    match option {
        "host" => Some(json!("stand-in")),
        "labels" => Some(json!({"efi": "A", "root": "B"})),
        "labels.efi" => Some(json!("A")),
        "labels.root" => Some(json!("B")),
        "repository" => Some(json!({"remote": "/stand-in"})),
        "system" => Some(json!("Flake")),
        "system.Image.system" => Some(json!("/nix/store/00000000000000000000000000000000-stand-in")),
        "system.Image.file" => Some(json!("/stand-in")),
        _ => None,
    }
}

/// Whether an option, or something that it is in or that is in it, was left out.
pub(super) fn is_about(out: &Out, option: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    out.iter()
        .any(|gone| within(option, gone) || within(gone, option))
}

/// Leaves out one more option or element of a list, or what it is in when that did not help. `false`: there is nothing that could be
/// left out.
pub(super) fn leave_out(out: &mut Out, option: &str) -> bool {
    let mut option = option;
    loop {
        if option.is_empty() {
            return false;
        }
        if out.insert(option.to_owned()) {
            return true;
        }
        let end = option.rfind(['.', '[']).unwrap_or(0);
        option = option.get(..end).unwrap_or_default();
    }
}

/// How an option that is given once more is called: nothing of it is read.
fn again(option: &str, time: usize) -> String {
    format!("{option}#{time}")
}

/// The option that is given more than once, of its name here.
pub(super) fn given_again(option: &str) -> Option<&str> {
    let (option, time) = option.rsplit_once('#')?;
    time.parse::<usize>().ok().map(|_| option)
}

/// As the error of a text says it where an option is given once more.
pub(super) const AGAIN: &str = "given once more: ";

/// The name of an element as the text has it: those before it that are left out were not counted.
pub(super) fn in_the_text(out: &Out, option: &str) -> String {
    let mut named = String::new();
    let mut rest = option;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((index, after)) = after.split_once(']') else {
            break;
        };
        named.push_str(before);
        let Ok(counted) = index.parse::<usize>() else {
            break;
        };
        let within = format!("{named}[");
        let gone = out.iter().filter_map(|gone| {
            gone.strip_prefix(&within)?
                .strip_suffix(']')?
                .parse::<usize>()
                .ok()
        });
        let mut gone: Vec<usize> = gone.collect();
        gone.sort_unstable();
        let at = gone
            .into_iter()
            .fold(counted, |at, gone| if gone <= at { at + 1 } else { at });
        named.push_str(&format!("[{at}]"));
        rest = after;
    }
    named + rest
}

/// A deserializer that skips what is left out.
pub(super) struct Tolerant<'o, D> {
    inner: D,
    at: String,
    out: &'o Out,
}

impl<'o, D> Tolerant<'o, D> {
    pub(super) fn new(inner: D, out: &'o Out) -> Self {
        Tolerant {
            inner,
            at: String::new(),
            out,
        }
    }
}

macro_rules! plain {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Tolerant<'_, D> {
    type Error = D::Error;

    plain! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit
        deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner
            .deserialize_any(Within::new(visitor, self.at, self.out))
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner
            .deserialize_option(Within::new(visitor, self.at, self.out))
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner
            .deserialize_seq(Within::new(visitor, self.at, self.out))
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner
            .deserialize_map(Within::new(visitor, self.at, self.out))
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner
            .deserialize_struct(name, fields, Within::new(visitor, self.at, self.out).with_names())
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_newtype_struct(name, visitor)
    }
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }
    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple(length, visitor)
    }
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple_struct(name, length, visitor)
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner
            .deserialize_enum(name, variants, Within::new(visitor, self.at, self.out))
    }
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// A visitor that hands on what it is given, maps without what is left out.
struct Within<'o, V> {
    inner: V,
    at: String,
    out: &'o Out,
    /// Options have names: a list of values, which serde would take in the order of the fields, is none of them.
    has_names: bool,
}

impl<'o, V> Within<'o, V> {
    fn new(inner: V, at: String, out: &'o Out) -> Self {
        Within {
            inner,
            at,
            out,
            has_names: false,
        }
    }

    fn with_names(self) -> Self {
        Within {
            has_names: true,
            ..self
        }
    }
}

macro_rules! hand_on {
    ($($method:ident: $type:ty)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Within<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    hand_on! {
        visit_bool: bool visit_i64: i64 visit_u64: u64 visit_f64: f64 visit_char: char visit_str: &str
        visit_borrowed_str: &'de str visit_string: String visit_bytes: &[u8] visit_borrowed_bytes: &'de [u8]
        visit_byte_buf: Vec<u8>
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let Within {
            inner: visitor,
            at,
            out,
            has_names: _,
        } = self;
        visitor.visit_some(Tolerant { inner, at, out })
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let Within {
            inner: visitor,
            at,
            out,
            has_names: _,
        } = self;
        visitor.visit_newtype_struct(Tolerant { inner, at, out })
    }
    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        if self.has_names {
            return Err(serde::de::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        }
        let Within {
            inner: visitor,
            at,
            out,
            has_names: _,
        } = self;
        visitor.visit_seq(List {
            inner,
            at,
            out,
            next: 0,
        })
    }
    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let Within {
            inner: visitor,
            at,
            out,
            has_names: _,
        } = self;
        visitor.visit_enum(Choice { inner, at, out })
    }
    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let Within {
            inner: visitor,
            at,
            out,
            has_names: _,
        } = self;
        let prefix = if at.is_empty() { at } else { format!("{at}.") };
        let missing = out
            .iter()
            .filter_map(|option| {
                let name = option.strip_prefix(&prefix).filter(|name| !name.contains('.'))?;
                Some((name.to_owned(), stand_in(option)?))
            })
            .collect();
        visitor.visit_map(Map {
            inner,
            prefix,
            out,
            given: BTreeMap::new(),
            key: String::new(),
            missing,
            value: None,
        })
    }
}

/// One of several forms of a value: what stands in it has the form's name in its path.
struct Choice<'o, A> {
    inner: A,
    at: String,
    out: &'o Out,
}

impl<'de, 'o, A: EnumAccess<'de>> EnumAccess<'de> for Choice<'o, A> {
    type Error = A::Error;
    type Variant = Choice<'o, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (name, inner) = self.inner.variant_seed(Name)?;
        let at = format!("{}.{name}", self.at);
        let name: StringDeserializer<A::Error> = name.into_deserializer();
        let chosen = seed.deserialize(name)?;
        let out = self.out;
        Ok((chosen, Choice { inner, at, out }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Choice<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let Choice { inner, at, out } = self;
        inner.newtype_variant_seed(Seed { seed, at, out })
    }
    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(length, visitor)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner
            .struct_variant(fields, Within::new(visitor, self.at, self.out).with_names())
    }
}

struct Map<'o, A> {
    inner: A,
    prefix: String,
    out: &'o Out,
    /// How often each name was given.
    given: BTreeMap<String, usize>,
    /// The path of the value that comes next.
    key: String,
    /// Stand-ins that are still to be given.
    missing: Vec<(String, Value)>,
    /// The stand-in whose name was given.
    value: Option<Value>,
}

/// A name as text, however the notation writes names.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an option")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Map<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(name) = self.inner.next_key_seed(Name)? {
            self.key = format!("{}{name}", self.prefix);
            let times = self.given.entry(name.clone()).or_default();
            *times += 1;
            let once_more = (*times > 1).then(|| again(&self.key, *times));
            if let Some(more) = once_more.filter(|more| !self.out.contains(more)) {
                return Err(A::Error::custom(format!("{AGAIN}`{more}`")));
            }
            if *times > 1 || self.out.contains(&self.key) {
                self.inner.next_value::<IgnoredAny>()?;
                continue;
            }
            let name: StringDeserializer<A::Error> = name.into_deserializer();
            return seed.deserialize(name).map(Some);
        }
        let Some((name, value)) = self.missing.pop() else {
            return Ok(None);
        };
        self.value = Some(value);
        let name: StringDeserializer<A::Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        if let Some(value) = self.value.take() {
            return seed.deserialize(value).map_err(A::Error::custom);
        }
        let (at, out) = (self.key.clone(), self.out);
        self.inner.next_value_seed(Seed { seed, at, out })
    }
}

/// A list without what is left out.
struct List<'o, A> {
    inner: A,
    at: String,
    out: &'o Out,
    next: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for List<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        loop {
            let at = format!("{}[{}]", self.at, self.next);
            self.next += 1;
            if !self.out.contains(&at) {
                let out = self.out;
                return self.inner.next_element_seed(Seed { seed, at, out });
            }
            if self.inner.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
    }
}

struct Seed<'o, S> {
    seed: S,
    at: String,
    out: &'o Out,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, S> {
    type Value = S::Value;
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let Seed { seed, at, out } = self;
        seed.deserialize(Tolerant { inner, at, out })
    }
}
