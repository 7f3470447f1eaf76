output "launch_template_id" {
  description = "For snapsource publish --launch-template, and iam-policy"
  value       = aws_launch_template.app.id
}

output "deploy_instance_profile" {
  description = "Instance profile of the instance that deploys"
  value       = aws_iam_instance_profile.deploy.name
}
