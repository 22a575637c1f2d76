//! Names of kernels.

use super::Kernel;

impl Kernel {
    /// Returns the name of the variant, for files and messages.
    pub fn name(self) -> String {
        match self {
            Self::Embed(element) => format!("embed_{}", element.name()),
            Self::GatherRows => "gather_rows".to_owned(),
            Self::Norm => "norm".to_owned(),
            Self::Swiglu => "swiglu".to_owned(),
            Self::Gemv { weight, vector, tile } => format!("gemv_{}_v{vector}_m{tile}", weight.name()),
            Self::Gemm { weight, fragments } => format!("gemm_{}_m{}", weight.name(), 16 * fragments),
            Self::SumParts => "sum_parts".to_owned(),
            Self::Shrink { pool, vector, tile } => format!("shrink_{}_v{vector}_m{tile}", pool.name()),
            Self::Expand { pool, vector, tile } => format!("expand_{}_v{vector}_m{tile}", pool.name()),
            Self::WriteKv { pages, width, normed } => {
                format!(
                    "write_kv_{}_w{width}{}",
                    pages.name(),
                    if normed { "_normed" } else { "" }
                )
            }
            Self::CopyPage(element) => format!("copy_page_{}", element.name()),
            Self::PagedAttention {
                pages,
                vector,
                width,
                queries,
            } => {
                format!("paged_attention_{}_v{vector}_w{width}_q{queries}", pages.name())
            }
            Self::Combine => "combine".to_owned(),
            Self::Training(kernel) => kernel.name(),
        }
    }
}
