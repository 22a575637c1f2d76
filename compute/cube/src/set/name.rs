//! What kernels are called.

use super::Kernel;

impl Kernel {
    /// A name for files and messages.
    pub fn name(self) -> String {
        match self {
            Self::Embed(element) => format!("embed_{}", element.name()),
            Self::Take => "take".to_owned(),
            Self::Norm => "norm".to_owned(),
            Self::Gate => "gate".to_owned(),
            Self::Gemv { weight, vector, tile } => format!("gemv_{}_v{vector}_m{tile}", weight.name()),
            Self::Gemm { weight, fragments } => format!("gemm_{}_m{}", weight.name(), 16 * fragments),
            Self::Finish => "finish".to_owned(),
            Self::Shrink { pool, vector, tile } => format!("shrink_{}_v{vector}_m{tile}", pool.name()),
            Self::Expand { pool, vector, tile } => format!("expand_{}_v{vector}_m{tile}", pool.name()),
            Self::Place { pages, width, normed } => {
                format!("place_{}_w{width}{}", pages.name(), if normed { "_normed" } else { "" })
            }
            Self::Copy(element) => format!("copy_{}", element.name()),
            Self::Attend {
                pages,
                vector,
                width,
                queries,
            } => {
                format!("attend_{}_v{vector}_w{width}_q{queries}", pages.name())
            }
            Self::Combine => "combine".to_owned(),
            Self::Learn(kernel) => kernel.name(),
        }
    }
}
