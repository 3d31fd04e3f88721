/* A cgroup namespace whose root is a group of its own, for an init and a child in groups below. */
#include "kids.h"
int main(void) { return 1; }
