// Package ec2ops is everything that snapsource says to AWS: who the instance is
// (instance metadata, version 2 only), which snapshots and volumes exist, and the
// calls that create, attach, tag and delete them.
//
// It translates: AWS's answers become the small structs of this package, AWS's
// error codes become its sentinel errors (see [APIError]). It decides nothing;
// what to do with a volume is the business of package agent.
//
// Endpoints, region and credentials come from the AWS SDK's own settings, such as
// AWS_ENDPOINT_URL_EC2 and AWS_EC2_METADATA_SERVICE_ENDPOINT.
package ec2ops
