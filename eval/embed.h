#pragma once
// `contrail embed`: unit-norm features of images and texts into one HDF5 file.

#include <string>

#include "common/file_system.h"
#include "eval/encoder.h"

namespace contrail::eval {

struct EmbedOptions {
  std::string images;  // tar patterns separated by spaces, or a folder of tars or images; "" = none
  std::string texts;   // a file, one text a line; "" = none
  std::string out;     // OUT.h5 (layout: eval/feature_file.h)
  std::string index_dir = "";  // of indexes that do not lie beside the shards
};

struct EmbedResult {
  uint64_t images = 0;
  uint64_t texts = 0;
  double seconds = 0;
};

// Throws E-OUT-EXISTS, E-EMBED-TEXTS, E-EVAL-NONFINITE and what data::Dataset::Open throws;
// leaves no file behind then.
EmbedResult Embed(FileSystem& fs, Encoder& encoder, const EmbedOptions& options);

}  // namespace contrail::eval
