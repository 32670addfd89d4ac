// Properties of standard output: its width, and whether it shows colours.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hostmap::apps {

// Columns of the terminal on standard output. Without a terminal, or if its width is unknown: the variable COLUMNS, else 80.
// At least 40.
std::size_t columns();

// Is standard output a terminal that shows colours? Not if the variable NO_COLOR is not empty (https://no-color.org), nor
// with TERM=dumb.
bool shows_colours();

// `text` in bold, if standard output shows colours.
std::string bold(std::string_view text);

}  // namespace hostmap::apps
