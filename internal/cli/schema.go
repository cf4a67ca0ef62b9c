package cli

import (
	"github.com/spf13/cobra"

	"drawbridge/internal/spec"
)

// newSchemaCommand prints what a file may hold, for editors and for people.
func newSchemaCommand(a *app) *cobra.Command {
	var example, reference bool
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of drawbridge.yaml, for editors",
		Long: `Print the JSON schema (draft 2020-12) of drawbridge.yaml. An editor with the YAML
language server completes and checks the file when its first line is
  # yaml-language-server: $schema=drawbridge.schema.json

Exit codes: 0 done; 2 bad usage.`,
		Example: `  drawbridge schema > drawbridge.schema.json
  drawbridge schema --example > drawbridge.yaml
  drawbridge schema --reference | less`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			text := spec.Schema()
			switch {
			case example:
				text = spec.Example()
			case reference:
				text = spec.Reference()
			}
			_, err := a.out.Write(text)
			return err
		},
	}
	cmd.Flags().BoolVar(&example, "example", false, "print an example of the file instead")
	cmd.Flags().BoolVar(&reference, "reference", false, "print the reference of its keys instead, in Markdown")
	cmd.MarkFlagsMutuallyExclusive("example", "reference")
	return cmd
}
