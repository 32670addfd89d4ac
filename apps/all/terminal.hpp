// What standard output is: how wide, and whether it shows colours.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hostmap::apps {

// Columns of the terminal on standard output. Without one, or if it does not know: the variable COLUMNS, else 80. At least 40.
std::size_t columns();

// Is standard output a terminal that shows colours? Not with a variable NO_COLOR that is not empty (https://no-color.org), nor
// with TERM=dumb.
bool shows_colours();

// `text` in bold, if standard output shows colours.
std::string bold(std::string_view text);

}  // namespace hostmap::apps
