/* So that C programs can write <hostmap.h>. The interface is in the folder of the C++ headers. */
#include <hostmap/hostmap.h>
