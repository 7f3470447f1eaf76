package mountfs

// ReadAlignment is the alignment of direct reads in bytes: no EBS volume and no XFS has larger
// sectors than pages.
const ReadAlignment = 4096
