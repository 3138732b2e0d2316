#pragma once
// A folder of image files as a data set, for `contrail embed --images DIR`.

#include <memory>
#include <string>

#include "data/dataset.h"

namespace contrail::eval {

// Every .jpg .jpeg .png .webp below `dir` (data/picture_folder.h), sorted by path; keys are paths
// relative to `dir`. Throws UserError E-DATA-MISSING where there is none, E-DATA-FOLDER.
std::shared_ptr<const data::Dataset> OpenFolder(const std::string& dir);

}  // namespace contrail::eval
