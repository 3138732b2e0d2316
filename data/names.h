#pragma once
// Class names and caption templates: text files with one entry a line, blank lines ignored.

#include <string>
#include <string_view>
#include <vector>

namespace contrail::data {

// Class names in label order. Throws UserError E-DATA-NAMES: unreadable, empty, a name twice.
std::vector<std::string> ReadClassNames(const std::string& path);

// Templates with the class name's place written {} ({c}, CLIP_benchmark's way, is taken too).
// Throws UserError E-DATA-NAMES: unreadable, empty, or a line without a place (file:line).
std::vector<std::string> ReadTemplates(const std::string& path);

// "a photo of a {}." and "coat" -> "a photo of a coat."
std::string FillTemplate(std::string_view text, std::string_view class_name);

}  // namespace contrail::data
