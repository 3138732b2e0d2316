#pragma once
// Character references of HTML, decoded as two Python programs do: html.unescape (lenient, the
// HTML standard's rules) and ftfy's own (strict: a semicolon is needed; upper-cased names of
// letters are understood).

#include <string>
#include <string_view>

namespace contrail::data {

// "&lt; &#x41; &notit;" -> "< A ¬it;" (Python 3 Lib/html/__init__.py: unescape).
std::string HtmlUnescape(std::string_view text);

// "P&EACUTE;REZ &lt &amp;" -> "PÉREZ &lt &" (ftfy/fixes.py: unescape_html).
std::string FtfyUnescape(std::string_view text);

}  // namespace contrail::data
