pub(crate) mod attention;
pub(crate) mod linear;
pub(crate) mod lora;
pub(crate) mod rows;
