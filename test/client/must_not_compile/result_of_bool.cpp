// Result<bool> would be a trap: `if (result)` tests that there is an answer, not that the answer is yes.
// refused with: static assertion failed: if \(result\) would be ambiguous
#include <hostmap/client.hpp>

#ifdef MISUSE
hostmap::Result<bool> answer(true);
#else
hostmap::Result<int> answer(1);
#endif
