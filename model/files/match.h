#pragma once
// Which model of the table a file's names and shapes belong to.

#include <map>
#include <string>
#include <vector>

#include "model/files/names.h"
#include "model/registry.h"

namespace contrail::model::files {

using Shapes = std::map<std::string, std::vector<int64_t>>;  // names as in the file

struct Match {
  ModelSpec spec;               // resolution as the position embedding says
  bool own_resolution = false;  // it is the table's
};

// Tries the model named `name`, or all of the table where that is "" (`prefer` first). Throws
// UserError E-WEIGHTS-MODEL with the first differences to the nearest model, E-MODEL-NAME.
Match MatchModel(const Shapes& shapes, Naming naming, const std::string& name,
                 const std::string& prefer, const std::string& where);

}  // namespace contrail::model::files
