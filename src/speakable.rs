//! stub
#![allow(missing_docs)]
#[derive(Default)] pub struct Speakable;
impl Speakable { pub fn clause(&mut self,s:&str)->String{s.to_owned()} }
