#pragma once
// The pictures in a folder and the folders below it.

#include <string>
#include <vector>

#include "data/left_out.h"

namespace contrail::data {

struct PictureFolder {
  std::vector<std::string> pictures;  // paths from the folder on, sorted
  LeftOut left_out;                   // pictures of other kinds
};

// "jpg", "jpeg", "png", "webp", or another extension, in lower case; "" where there is none.
std::string ExtensionOf(const std::string& path);

// Links are followed, to files and to folders; files whose names start with a dot are passed over.
// Throws UserError E-DATA-FOLDER, naming the path: a link to nothing, to itself, or to a folder
// above it; E-IO where a folder may not be read.
PictureFolder ListPictures(const std::string& folder);

}  // namespace contrail::data
