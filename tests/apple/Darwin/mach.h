/* Of <mach/mach.h>, in C as Apple declares it: to Swift 6, a variable that anybody may change. */
#include <stdint.h>

typedef uint32_t natural_t;
typedef int32_t integer_t;
typedef natural_t mach_msg_type_number_t;
typedef natural_t task_flavor_t;
typedef int32_t kern_return_t;
typedef natural_t mach_port_t;
typedef mach_port_t task_name_t;
typedef integer_t *task_info_t;

struct task_vm_info {
    uint64_t virtual_size;
    uint64_t phys_footprint;
};
typedef struct task_vm_info task_vm_info_data_t;

#define TASK_VM_INFO 22
#define KERN_SUCCESS 0

extern mach_port_t mach_task_self_;
kern_return_t task_info(task_name_t task, task_flavor_t flavor, task_info_t info, mach_msg_type_number_t *count);
