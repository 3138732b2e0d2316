#pragma once
// A file of weights of any format, told by its contents.

#include <string>

#include "common/file_system.h"
#include "model/files/weight_file.h"

namespace contrail::model::files {

// Throws UserError E-WEIGHTS-FILE (no such file, or of a foreign format), and what the readers
// throw: E-WEIGHTS-DAMAGED, E-WEIGHTS-PICKLE, E-WEIGHTS-COMPRESSED, E-WEIGHTS-CONFIG (an index).
WeightFile OpenWeightFile(const FileSystem& fs, const std::string& path);

}  // namespace contrail::model::files
