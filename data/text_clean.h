#pragma once
// Captions made regular before tokenising, as CLIP's tokenizer does (openai/CLIP
// clip/simple_tokenizer.py basic_clean, whitespace_clean; open_clip tokenizer.py _clean_lower):
// ftfy.fix_text, html.unescape twice, runs of white space to one space, lower case.
//
// Of ftfy 6.3 all repairs of characters are done: character references with semicolons, C1
// controls, Latin ligatures, full- and half-width forms, curly quotes, line breaks, terminal
// escapes, control characters, NFC. Its guess at wrongly decoded text ("sÃ³" -> "só") is not made:
// such a caption keeps its bytes. Bytes that are no UTF-8 become U+FFFD. Entities are unescaped 16
// times at most.

#include <string>
#include <string_view>

namespace contrail::data {

std::string CleanCaption(std::string_view utf8);

}  // namespace contrail::data
