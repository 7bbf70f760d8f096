//! How people drive a migration: the command language, the conversation, the socket of the terminal, the command line.

pub mod cli;
pub mod conversation;
pub mod doctor;
pub mod language;
pub mod local;
pub mod proof;
pub mod status;
pub mod words;
