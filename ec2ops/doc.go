// Package ec2ops makes snapsource's calls to AWS: it identifies the instance (instance
// metadata, version 2 only), lists snapshots and volumes, and creates, attaches, tags and
// deletes them.
//
// It translates AWS's responses into the small structs of this package, and AWS's error
// codes into its sentinel errors (see [APIError]). It retries throttled and temporary
// errors, and refusals for the time that [Refusals] gives. It makes no decisions: what to
// do with a volume is up to package agent.
//
// Endpoints, region and credentials come from the AWS SDK's own settings, such as
// AWS_ENDPOINT_URL_EC2 and AWS_EC2_METADATA_SERVICE_ENDPOINT.
package ec2ops
