//! stub
#![allow(missing_docs)]
pub struct SentenceSplitter(String);
impl SentenceSplitter { pub fn new()->Self{Self(String::new())} pub fn push(&mut self,d:&str)->Vec<String>{self.0.push_str(d);vec![]} pub fn flush(&mut self)->Option<String>{Some(std::mem::take(&mut self.0)).filter(|s|!s.is_empty())}}
